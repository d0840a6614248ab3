//! `tokenizer.json` and `tokenizer_config.json` from the metadata of a GGUF file.
//!
//! Every token is in the vocabulary, and control and user-defined tokens are added tokens besides,
//! so ids come out as they stand in the file.

use serde_json::{Map, Value, json};

use super::pre_tokenizer;
use super::reader::GgufFile;
use super::special_tokens::SPECIAL_TOKENS;
use super::tokenizer::{TokenType, TokenizerFiles};
use super::value::{GgufArray, GgufValue};
use crate::interop::InteropError;

/// What llama.cpp calls the tokenizer of a file without one.
pub(super) const NO_VOCAB: &str = "no_vocab";

/// Whether a file has a tokenizer.
pub(super) fn is_there(file: &GgufFile) -> bool {
    let model = file.value("tokenizer.ggml.model");
    model.is_some_and(|model| !["none", NO_VOCAB].contains(&model.as_str().unwrap_or_default()))
}

/// The tokenizer of a file; none if it has none.
pub(super) fn tokenizer_files(file: &GgufFile) -> Result<Option<TokenizerFiles>, InteropError> {
    let error = |key: &str, found: String, expected: &str| InteropError::Field {
        path: file.path().to_owned(),
        field: format!("tokenizer.{key}"),
        found,
        expected: expected.to_owned(),
    };
    let value = |key: &str| file.value(&format!("tokenizer.{key}"));
    let text = |key: &str| value(key).and_then(GgufValue::as_str);
    let texts = |key: &str| match value(key) {
        Some(GgufValue::Array(GgufArray::String(texts))) => Ok(texts.as_slice()),
        other => Err(error(key, describe(other), "a list of texts")),
    };
    if !is_there(file) {
        return Ok(None);
    }
    match value("ggml.model") {
        Some(GgufValue::String(model)) if model == "gpt2" => {}
        other => return Err(error("ggml.model", describe(other), "gpt2")),
    }
    let pre = text("ggml.pre").unwrap_or("gpt-2");
    let Some(pre_tokenizer) = pre_tokenizer::from_name(pre) else {
        return Err(error("ggml.pre", pre.to_owned(), pre_tokenizer::SUPPORTED));
    };
    let tokens = texts("ggml.tokens")?;
    let types = match value("ggml.token_type") {
        Some(GgufValue::Array(GgufArray::I32(types))) if types.len() == tokens.len() => types,
        other => {
            return Err(error(
                "ggml.token_type",
                describe(other),
                "an i32 for each token",
            ));
        }
    };

    let mut vocab = Map::new();
    let mut added_tokens = Vec::new();
    for (id, (token, &kind)) in tokens.iter().zip(types).enumerate() {
        let special = kind == TokenType::Control as i32;
        if special || kind == TokenType::UserDefined as i32 {
            added_tokens.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special,
            }));
        }
        if kind != TokenType::Unused as i32 && vocab.insert(token.clone(), id.into()).is_some() {
            return Err(error(
                "ggml.tokens",
                format!("{token:?} twice"),
                "each token once",
            ));
        }
    }
    let mut merges = Vec::new();
    for merge in texts("ggml.merges")? {
        match merge.split_once(' ') {
            Some((left, right)) => merges.push(json!([left, right])),
            None => {
                return Err(error(
                    "ggml.merges",
                    format!("{merge:?}"),
                    "two tokens with a space between them",
                ));
            }
        }
    }

    let config = tokenizer_config(file, tokens, pre)?;
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(&config, &vocab),
        "decoder": byte_level(),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            // llama.cpp does so for this name.
            "ignore_merges": pre_tokenizer::canonical(pre) == "llama-bpe",
            "vocab": vocab,
            "merges": merges,
        },
    });
    Ok(Some(TokenizerFiles {
        tokenizer,
        config: Some(config),
        chat_template: None,
    }))
}

fn describe(value: Option<&GgufValue>) -> String {
    value.map_or("missing".to_owned(), ToString::to_string)
}

/// The texts of the special tokens, what is added, and the chat template.
fn tokenizer_config(file: &GgufFile, tokens: &[String], pre: &str) -> Result<Value, InteropError> {
    let mut config = Map::new();
    config.insert(
        "tokenizer_class".to_owned(),
        "PreTrainedTokenizerFast".into(),
    );
    for (name, key) in SPECIAL_TOKENS {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(value) = file.value(&key) else {
            continue;
        };
        let token = value
            .as_u64()
            .and_then(|id| tokens.get(usize::try_from(id).ok()?));
        let token = token.ok_or_else(|| InteropError::Field {
            path: file.path().to_owned(),
            field: key,
            found: value.to_string(),
            expected: format!("an id of the {} tokens", tokens.len()),
        })?;
        config.insert(format!("{name}_token"), token.as_str().into());
    }
    // llama.cpp begins a text by the name of the pre-tokenizer where no key says whether
    let begins = pre_tokenizer::canonical(pre) == "llama-bpe";
    for (name, default) in [("bos", begins), ("eos", false)] {
        let added = file
            .value(&format!("tokenizer.ggml.add_{name}_token"))
            .and_then(GgufValue::as_bool);
        config.insert(format!("add_{name}_token"), added.unwrap_or(default).into());
    }
    if let Some(template) = file
        .value("tokenizer.chat_template")
        .and_then(GgufValue::as_str)
    {
        let names = file.value("tokenizer.chat_templates");
        let names = match names {
            Some(GgufValue::Array(GgufArray::String(names))) => names.as_slice(),
            _ => &[],
        };
        let named = names.iter().filter_map(|name| {
            let text = file
                .value(&format!("tokenizer.chat_template.{name}"))?
                .as_str()?;
            Some(json!({"name": name, "template": text}))
        });
        let mut all: Vec<Value> = named.collect();
        let stated = match all.is_empty() {
            true => template.into(),
            false => {
                all.insert(0, json!({"name": "default", "template": template}));
                all.into()
            }
        };
        config.insert("chat_template".to_owned(), stated);
    }
    Ok(config.into())
}

/// Adds the tokens that the configuration says are added.
fn post_processor(config: &Value, vocab: &Map<String, Value>) -> Value {
    let added = |name: &str| {
        let token = config[format!("{name}_token")].as_str()?;
        (config[format!("add_{name}_token")] == true).then_some(token)
    };
    let ends = [added("bos"), added("eos")];
    if ends == [None, None] {
        return byte_level();
    }
    let template = |texts: &[&str]| -> Vec<Value> {
        let special = |token: Option<&str>, type_id: usize| {
            token.map(|id| json!({"SpecialToken": {"id": id, "type_id": type_id}}))
        };
        let mut items = Vec::new();
        for (type_id, text) in texts.iter().enumerate() {
            items.extend(special(ends[0], type_id));
            items.push(json!({"Sequence": {"id": text, "type_id": type_id}}));
            items.extend(special(ends[1], type_id));
        }
        items
    };
    let special_tokens: Map<String, Value> = ends
        .into_iter()
        .flatten()
        .map(|token| {
            (
                token.to_owned(),
                json!({"id": token, "ids": [vocab.get(token)], "tokens": [token]}),
            )
        })
        .collect();
    let added = json!({"type": "TemplateProcessing", "single": template(&["A"]), "pair": template(&["A", "B"]), "special_tokens": special_tokens});
    json!({"type": "Sequence", "processors": [byte_level(), added]})
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true})
}
