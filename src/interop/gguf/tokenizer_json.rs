//! Builds `tokenizer.json` and `tokenizer_config.json` from the metadata of a GGUF file.
//!
//! All tokens are in the vocabulary; control and user-defined tokens are added tokens as well, so that ids stay those
//! of the file.

use serde_json::{Map, Value, json};

use super::keys::Keys;
use super::reader::GgufFile;
use super::special_tokens::SPECIAL_TOKENS;
use super::tokenizer::{TokenType, TokenizerFiles};
use super::value::{GgufArray, GgufValue};
use super::{pre_tokenizer, sentence_piece};
use crate::interop::InteropError;

/// llama.cpp's name for an absent tokenizer.
pub(super) const NO_VOCAB: &str = "no_vocab";

/// Whether a file has a tokenizer.
pub(super) fn is_there(file: &GgufFile) -> bool {
    let model = file.value("tokenizer.ggml.model");
    model.is_some_and(|model| !["none", NO_VOCAB].contains(&model.as_str().unwrap_or_default()))
}

/// The tokenizer of a file; `None` if it has none.
pub(super) fn tokenizer_files(file: &GgufFile) -> Result<Option<TokenizerFiles>, InteropError> {
    if !is_there(file) {
        return Ok(None);
    }
    let keys = Keys::of_tokenizer(file);
    let kind = match keys.value("model") {
        Some(GgufValue::String(model)) if model == "gpt2" => Kind::ByteLevel,
        Some(GgufValue::String(model)) if model == "llama" => Kind::SentencePiece,
        other => return Err(keys.error("model", describe(other), "gpt2 or llama")),
    };
    let tokens = keys.texts("tokens")?;
    let types = match keys.value("token_type") {
        Some(GgufValue::Array(GgufArray::I32(types))) if types.len() == tokens.len() => types,
        other => return Err(keys.error("token_type", describe(other), "an i32 for each token")),
    };

    let mut vocab = Map::new();
    let mut added_tokens = Vec::new();
    for (id, (token, &kind)) in tokens.iter().zip(types).enumerate() {
        let special = [TokenType::Control as i32, TokenType::Unknown as i32].contains(&kind);
        if special || kind == TokenType::UserDefined as i32 {
            added_tokens.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special,
            }));
        }
        if kind != TokenType::Unused as i32 && vocab.insert(token.clone(), id.into()).is_some() {
            return Err(keys.error("tokens", format!("{token:?} twice"), "each token once"));
        }
    }
    let parts = match kind {
        Kind::ByteLevel => byte_level_parts(&keys)?,
        Kind::SentencePiece => sentence_piece_parts(&keys, tokens, types)?,
    };
    let config = tokenizer_config(file, tokens, parts.begins)?;
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
        "vocab": vocab,
        "merges": parts.merges,
    });
    for (field, value) in parts.options {
        model[field] = value;
    }
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor(&config, &model["vocab"], parts.post_processor),
        "decoder": parts.decoder,
        "model": model,
    });
    Ok(Some(TokenizerFiles {
        tokenizer,
        config: Some(config),
        chat_template: None,
    }))
}

/// Supported kinds of vocabularies.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// llama.cpp's `gpt2`.
    ByteLevel,
    /// llama.cpp's `llama`.
    SentencePiece,
}

/// Components that depend on the kind.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// A post-processor besides the one that adds tokens.
    post_processor: Option<Value>,
    /// Fields of the BPE model.
    options: Vec<(&'static str, Value)>,
    merges: Vec<Value>,
    /// Whether texts begin with a token if no key tells.
    begins: bool,
}

fn byte_level_parts(keys: &Keys<'_>) -> Result<Parts, InteropError> {
    let pre = keys.get("pre", GgufValue::as_str, "a text")?;
    let pre = pre.unwrap_or("default");
    let Some(pre_tokenizer) = pre_tokenizer::from_name(pre) else {
        return Err(keys.error("pre", format!("{pre:?}"), pre_tokenizer::SUPPORTED));
    };
    let mut merges = Vec::new();
    for merge in keys.texts("merges")? {
        match merge.split_once(' ') {
            Some((left, right)) => merges.push(json!([left, right])),
            None => {
                let expected = "two tokens with a space between them";
                return Err(keys.error("merges", format!("{merge:?}"), expected));
            }
        }
    }
    let begins = pre_tokenizer::takes_whole_words(pre);
    Ok(Parts {
        normalizer: Value::Null,
        pre_tokenizer,
        decoder: byte_level(),
        post_processor: Some(byte_level()),
        options: vec![("ignore_merges", begins.into())],
        merges,
        begins,
    })
}

fn sentence_piece_parts(
    keys: &Keys<'_>,
    tokens: &[String],
    types: &[i32],
) -> Result<Parts, InteropError> {
    let scores = match keys.value("scores") {
        Some(GgufValue::Array(GgufArray::F32(scores))) if scores.len() == tokens.len() => scores,
        other => return Err(keys.error("scores", describe(other), "an f32 for each token")),
    };
    let prefix = keys.get("add_space_prefix", GgufValue::as_bool, "true or false")?;
    let prefix = prefix.unwrap_or(true);
    let unknown = types.iter().position(|&it| it == TokenType::Unknown as i32);
    let unknown = unknown.map(|id| tokens[id].as_str());
    Ok(Parts {
        normalizer: sentence_piece::normalizer(prefix),
        pre_tokenizer: Value::Null,
        decoder: sentence_piece::decoder(prefix),
        post_processor: None,
        options: vec![
            ("unk_token", unknown.into()),
            ("fuse_unk", true.into()),
            ("byte_fallback", true.into()),
        ],
        merges: sentence_piece::merges(tokens, types, scores),
        begins: true,
    })
}

fn describe(value: Option<&GgufValue>) -> String {
    value.map_or("missing".to_owned(), ToString::to_string)
}

/// `tokenizer_config.json`: the special tokens, which of them are added, and the chat template.
fn tokenizer_config(
    file: &GgufFile,
    tokens: &[String],
    begins: bool,
) -> Result<Value, InteropError> {
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
    // without a key, llama.cpp decides by the kind of tokenizer whether texts begin with a token
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

/// The post-processor that adds the configuration's tokens.
fn post_processor(config: &Value, vocab: &Value, other: Option<Value>) -> Value {
    let added = |name: &str| {
        let token = config[format!("{name}_token")].as_str()?;
        (config[format!("add_{name}_token")] == true).then_some(token)
    };
    let ends = [added("bos"), added("eos")];
    if ends == [None, None] {
        return other.into();
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
    match other {
        Some(other) => json!({"type": "Sequence", "processors": [other, added]}),
        None => added,
    }
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true})
}
