//! Which tokens begin, end and pad a text, and which of them the tokenizer adds by itself.

use serde_json::Value;

use super::config::Config;
use super::tokenizer::TokenizerFiles;
use super::value::GgufValue;
use crate::interop::InteropError;

/// Special tokens: the name that Hugging Face gives them, and that of their key. llama.cpp spells one of them so.
pub(super) const SPECIAL_TOKENS: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// Tokens that a tokenizer may add.
const ADDED: [&str; 3] = ["bos", "eos", "sep"];

/// Writes the ids of the special tokens, then which of them are added.
///
/// An id is that of the token that `tokenizer_config.json` names, else `config.json` gives it. What
/// is added is told by the post-processor of `tokenizer.json`, else by `tokenizer_config.json`.
pub(super) fn keys(
    files: &TokenizerFiles,
    json: &Config<'_>,
    model: &Config<'_>,
    put: &mut impl FnMut(&str, GgufValue),
) -> Result<(), InteropError> {
    let config = files.config.as_ref();
    let added_tokens = json
        .get("added_tokens")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let named_id = |name: &str| {
        let text = token_text(config?, name)?;
        let token = added_tokens.iter().find(|token| token["content"] == text)?;
        token["id"].as_u64()?.try_into().ok()
    };
    let mut ids = Vec::new();
    let mut missing = Vec::new();
    for (name, key) in SPECIAL_TOKENS {
        match named_id(name) {
            Some(id) => ids.push((key, id)),
            None => missing.push((name, key)),
        }
    }
    for (name, key) in missing {
        let field = format!("{name}_token_id");
        // Some models have several ends of text; the key has room for one.
        let id = match model.get(&field) {
            Some(Value::Array(several)) if name == "eos" => several
                .first()
                .and_then(Value::as_u64)
                .and_then(|id| id.try_into().ok()),
            _ => model.count(&field)?,
        };
        ids.extend(id.map(|id| (key, id)));
    }
    for (key, id) in ids {
        put(&format!("ggml.{key}_token_id"), GgufValue::U32(id));
    }

    let mut added = post_processor(json, config)?;
    for (flag, name) in added.iter_mut().zip(ADDED) {
        *flag = flag.or_else(|| config?[format!("add_{name}_token")].as_bool());
    }
    added[0] = added[0].or(Some(false));
    for (flag, name) in added.into_iter().zip(ADDED) {
        if let Some(flag) = flag {
            put(&format!("ggml.add_{name}_token"), GgufValue::Bool(flag));
        }
    }
    Ok(())
}

/// The text of a special token, which stands there as it is or as an object.
fn token_text<'a>(config: &'a Value, name: &str) -> Option<&'a str> {
    let token = config.get(format!("{name}_token"))?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Whether each of [`ADDED`] is added, where the post-processor says so.
fn post_processor(
    json: &Config<'_>,
    config: Option<&Value>,
) -> Result<[Option<bool>; 3], InteropError> {
    let Some(processor) = json.get("post_processor") else {
        return Ok([None; 3]);
    };
    let single = [processor.clone()];
    let stages = match processor.get("processors").and_then(Value::as_array) {
        Some(stages) => stages.as_slice(),
        None => &single,
    };
    let mut added = [None; 3];
    for stage in stages {
        match stage["type"].as_str() {
            Some("ByteLevel") => {
                added[0] = added[0].or(Some(false));
                added[1] = added[1].or(Some(false));
            }
            Some("TemplateProcessing") => template(json, config, stage, &mut added)?,
            other => {
                return Err(json.error(
                    "post_processor.type",
                    other.unwrap_or("missing"),
                    "ByteLevel or TemplateProcessing",
                ));
            }
        }
    }
    Ok(added)
}

/// A template such as `<s> A </s>`: the special tokens at its ends are added.
fn template(
    json: &Config<'_>,
    config: Option<&Value>,
    stage: &Value,
    added: &mut [Option<bool>; 3],
) -> Result<(), InteropError> {
    let name_of = |name: &str| config.and_then(|config| token_text(config, name));
    let items = |field: &str| stage[field].as_array().map_or(&[][..], Vec::as_slice);
    let special = |item: Option<&Value>| {
        item.and_then(|item| item["SpecialToken"]["id"].as_str().map(str::to_owned))
    };

    let single = items("single");
    let ends = if single.len() > 1 {
        [special(single.first()), special(single.last())]
    } else {
        [None, None]
    };
    for ((flag, end), name) in added.iter_mut().zip(&ends).zip(ADDED) {
        let Some(end) = end else { continue };
        if name_of(name).is_some_and(|expected| expected != end) {
            let expected = format!("the {name}_token of tokenizer_config.json");
            return Err(json.error(
                "post_processor.single",
                format!("{end:?} at an end"),
                expected,
            ));
        }
        *flag = Some(true);
    }

    // In `<s> A </s> B </s>`, the token between the two texts.
    let mut pair = items("pair");
    let [first, last] = &ends;
    if let [head, rest @ ..] = pair
        && first.is_some()
        && special(Some(head)) == *first
    {
        pair = rest;
    }
    if let [rest @ .., tail] = pair
        && last.is_some()
        && special(Some(tail)) == *last
    {
        pair = rest;
    }
    if let [a, between @ .., b] = pair
        && a["Sequence"]["id"] == "A"
        && b["Sequence"]["id"] == "B"
        && !between.is_empty()
    {
        let separates = |item: &Value| {
            special(Some(item))
                .is_some_and(|text| [name_of("sep"), name_of("eos")].contains(&Some(text.as_str())))
        };
        let by_first = separates(&between[0]) && last.is_none();
        added[2] = Some(by_first || (between.len() == 2 && separates(&between[1])));
    }
    Ok(())
}
