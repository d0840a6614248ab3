//! Metadata keys for a tokenizer, from Hugging Face's `tokenizer.json` and `tokenizer_config.json`.
//!
//! Only byte-level BPE is supported, which llama.cpp calls `gpt2`. Keys and order are those of llama.cpp's converter
//! (<https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/vocab.py>), except that `add_bos_token` is always
//! written: without it llama.cpp decides by the pre-tokenizer's name.

use std::path::Path;

use serde_json::Value;

use super::config::Config;
use super::metadata::Keys;
use super::value::{GgufArray, GgufValue};
use super::{pre_tokenizer, special_tokens};
use crate::interop::InteropError;
use crate::interop::family::Gguf;
use crate::interop::hugging_face::HfConfig;

/// The files of a Hugging Face tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`.
    pub config: Option<Value>,
    /// `chat_template.jinja`, which takes precedence over `chat_template` in `tokenizer_config.json`, as in
    /// transformers.
    pub chat_template: Option<String>,
}

/// llama.cpp's types of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
}

/// All keys of the tokenizer. `path` is that of `tokenizer.json`.
pub(super) fn tokenizer_keys(
    files: &TokenizerFiles,
    path: &Path,
    config: &HfConfig,
    gguf: &Gguf,
) -> Result<Keys, InteropError> {
    let vocab_size = config.model.vocab_size;
    let json = Config::new(path, &files.tokenizer);
    let bpe = json
        .object("model")
        .ok_or_else(|| json.error("model", "missing", "a BPE model"))?;
    let pre = supported(&json, &bpe)?;
    let (tokens, types) = tokens(&json, &bpe, vocab_size)?;

    let mut keys = Keys::new();
    let mut put = |key: &str, value: GgufValue| keys.push((format!("tokenizer.{key}"), value));
    let prefix = files
        .config
        .as_ref()
        .and_then(|config| config["add_prefix_space"].as_bool());
    if let ("llama", Some(prefix)) = (gguf.architecture, prefix) {
        put("ggml.add_space_prefix", GgufValue::Bool(prefix));
    }
    put("ggml.model", "gpt2".into());
    put("ggml.pre", pre.into());
    put("ggml.tokens", GgufValue::Array(GgufArray::String(tokens)));
    put("ggml.token_type", GgufValue::Array(GgufArray::I32(types)));
    put(
        "ggml.merges",
        GgufValue::Array(GgufArray::String(merges(&bpe)?)),
    );
    special_tokens::keys(files, &json, &config.token_ids, &mut put)?;
    chat_template_keys(files, &mut put);
    Ok(keys)
}

/// Name of the pre-tokenizer, after checking that everything else is byte-level BPE.
fn supported(json: &Config<'_>, bpe: &Config<'_>) -> Result<&'static str, InteropError> {
    match bpe.text("type")? {
        Some("BPE") => {}
        other => return Err(json.error("model.type", other.unwrap_or("missing"), "BPE")),
    }
    if bpe.flag("byte_fallback")? {
        return Err(json.error(
            "model.byte_fallback",
            true,
            "false: byte-level BPE has a token for each byte",
        ));
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if let Some(affix) = bpe.text(field)?.filter(|affix| !affix.is_empty()) {
            return Err(json.error(&format!("model.{field}"), affix, "null"));
        }
    }
    // llama.cpp takes text as it is. Composed characters (NFC) are what nearly all text has anyway.
    if let Some(normalizer) = json.get("normalizer") {
        let none = normalizer["normalizers"]
            .as_array()
            .is_some_and(Vec::is_empty);
        if !none && normalizer["type"] != "NFC" {
            return Err(json.error("normalizer", &normalizer["type"], "null or NFC"));
        }
    }
    let pre = json.get("pre_tokenizer").and_then(pre_tokenizer::name);
    pre.ok_or_else(|| {
        let found = json.get("pre_tokenizer").map_or("missing".to_owned(), |_| {
            "one that llama.cpp is not known to have".to_owned()
        });
        json.error("pre_tokenizer", found, pre_tokenizer::SUPPORTED)
    })
}

/// Text and type of each token, by id. Ids without a token are named `[PAD{id}]`.
fn tokens(
    json: &Config<'_>,
    bpe: &Config<'_>,
    vocab_size: usize,
) -> Result<(Vec<String>, Vec<i32>), InteropError> {
    let mut tokens: Vec<_> = (0..vocab_size)
        .map(|id| (format!("[PAD{id}]"), TokenType::Unused))
        .collect();
    let mut put = |field: &str, id: &Value, text: &str, kind| {
        let slot = id
            .as_u64()
            .and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        let slot = slot.ok_or_else(|| {
            json.error(
                field,
                format!("{id} for {text:?}"),
                format!("an id below the vocab_size {vocab_size}"),
            )
        })?;
        *slot = (text.to_owned(), kind);
        Ok::<(), InteropError>(())
    };
    let vocab = bpe.get("vocab").and_then(Value::as_object);
    for (text, id) in vocab.ok_or_else(|| json.error("model.vocab", "missing", "ids by token"))? {
        put("model.vocab", id, text, TokenType::Normal)?;
    }
    for token in json
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Some(text) = token["content"].as_str() else {
            return Err(json.error("added_tokens", token, "tokens with a text as `content`"));
        };
        // padding that nothing is embedded for; no text has it
        let is_beyond = token["id"]
            .as_u64()
            .is_some_and(|id| id >= vocab_size as u64);
        if is_beyond && token["special"] == true {
            continue;
        }
        if token["special"] == true || looks_special(text) {
            put("added_tokens", &token["id"], text, TokenType::Control)?;
        } else {
            put(
                "added_tokens",
                &token["id"],
                &text.replace('▁', " "),
                TokenType::UserDefined,
            )?;
        }
    }
    Ok(tokens
        .into_iter()
        .map(|(text, kind)| (text, kind as i32))
        .unzip())
}

/// Whether the converter takes a text for a control token even if the tokenizer does not.
fn looks_special(text: &str) -> bool {
    let within = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

/// Merges in the form `left right`, from this form or from pairs.
fn merges(bpe: &Config<'_>) -> Result<Vec<String>, InteropError> {
    let merges = bpe.get("merges").and_then(Value::as_array);
    let merges = merges.ok_or_else(|| bpe.error("model.merges", "missing", "a list"))?;
    let merge = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.clone()),
        Value::Array(pair) => match pair.as_slice() {
            // A space within a token has its byte-level character, so that one space is left to part the two.
            [Value::String(left), Value::String(right)] => Some(format!(
                "{} {}",
                left.replace(' ', "Ġ"),
                right.replace(' ', "Ġ")
            )),
            _ => None,
        },
        _ => None,
    };
    let error = |found: &Value| {
        bpe.error(
            "model.merges",
            found,
            "\"left right\" or [\"left\", \"right\"]",
        )
    };
    merges
        .iter()
        .map(|value| merge(value).ok_or_else(|| error(value)))
        .collect()
}

/// Writes one chat template, or several named ones with a default.
fn chat_template_keys(files: &TokenizerFiles, put: &mut impl FnMut(&str, GgufValue)) {
    let own = files.config.as_ref().map(|config| &config["chat_template"]);
    let mut names = Vec::new();
    let mut default = None;
    match own {
        _ if files.chat_template.is_some() => default = files.chat_template.as_deref(),
        Some(Value::String(template)) => default = Some(template.as_str()),
        Some(Value::Array(named)) => {
            for template in named {
                let (Some(name), Some(text)) =
                    (template["name"].as_str(), template["template"].as_str())
                else {
                    continue;
                };
                if name == "default" {
                    default = Some(text);
                } else {
                    let name: String = name
                        .chars()
                        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                        .collect();
                    put(&format!("chat_template.{name}"), text.into());
                    names.push(name);
                }
            }
        }
        _ => {}
    }
    if !names.is_empty() {
        put("chat_templates", GgufValue::Array(GgufArray::String(names)));
    }
    if let Some(template) = default {
        put("chat_template", template.into());
    }
}
