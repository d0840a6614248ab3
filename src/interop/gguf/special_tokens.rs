//! Special tokens of a tokenizer, and which of them it adds to texts.

use serde_json::Value;

use super::config::Config;
use super::tokenizer::TokenizerFiles;
use super::value::GgufValue;
use crate::interop::InteropError;
use crate::interop::hugging_face::TokenIds;

/// Names of special tokens in Hugging Face and in GGUF's keys; one is misspelled there.
pub(super) const SPECIAL_TOKENS: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// Tokens that a tokenizer may add to a text.
const ADDED: [&str; 3] = ["bos", "eos", "sep"];

/// Keys of further end-of-text tokens; llama.cpp stops at each of them.
const MORE_ENDS: [&str; 2] = ["eot", "eom"];

/// Writes the ids of the special tokens, then which of them are added.
///
/// An id is that of the token in `tokenizer_config.json`, else of the token that the post-processor adds in its
/// place, else the one in `config.json`. Which tokens are added follows from the post-processor of `tokenizer.json`,
/// else from `tokenizer_config.json`.
pub(super) fn keys(
    files: &TokenizerFiles,
    json: &Config<'_>,
    stated: &TokenIds,
    put: &mut impl FnMut(&str, GgufValue),
) -> Result<(), InteropError> {
    let config = files.config.as_ref();
    let mut added = post_processor(json, config)?;
    let named_id = |name: &str| {
        let named = config.and_then(|config| token_text(config, name));
        let at_an_end = || {
            let place = ADDED.iter().position(|added| *added == name)?;
            added.ends.get(place)?.as_deref()
        };
        id_of(json, named.or_else(at_an_end)?)
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
        let id = match name {
            "bos" => stated.bos,
            "eos" => stated.eos.first().copied(),
            "pad" => stated.pad,
            _ => None,
        };
        ids.extend(id.map(|id| (key, id)));
    }
    let eos = ids.iter().find(|(key, _)| *key == "eos").map(|&(_, id)| id);
    let more = stated.eos.iter().copied();
    let more = more.filter(|&id| Some(id) != eos);
    ids.extend(MORE_ENDS.into_iter().zip(more));
    for (key, id) in ids {
        put(&format!("ggml.{key}_token_id"), GgufValue::U32(id));
    }

    for (flag, name) in added.flags.iter_mut().zip(ADDED) {
        *flag = flag.or_else(|| config?[format!("add_{name}_token")].as_bool());
    }
    added.flags[0] = added.flags[0].or(Some(false));
    for (flag, name) in added.flags.into_iter().zip(ADDED) {
        if let Some(flag) = flag {
            put(&format!("ggml.add_{name}_token"), GgufValue::Bool(flag));
        }
    }
    Ok(())
}

/// Id of a token among the added tokens or in the vocabulary.
fn id_of(json: &Config<'_>, text: &str) -> Option<u32> {
    let added = json.get("added_tokens").and_then(Value::as_array);
    let added = added.into_iter().flatten().find(|it| it["content"] == text);
    let id = match added {
        Some(token) => token["id"].as_u64(),
        None => json.get("model")?["vocab"][text].as_u64(),
    };
    id?.try_into().ok()
}

/// Text of a special token, which is a string or an object.
fn token_text<'a>(config: &'a Value, name: &str) -> Option<&'a str> {
    let token = config.get(format!("{name}_token"))?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Tokens that a post-processor adds, as far as it tells.
#[derive(Debug, Default)]
struct Added {
    /// Whether each of [`ADDED`] is added.
    flags: [Option<bool>; 3],
    /// Tokens before and after a text.
    ends: [Option<String>; 2],
}

fn post_processor(json: &Config<'_>, config: Option<&Value>) -> Result<Added, InteropError> {
    let Some(processor) = json.get("post_processor") else {
        return Ok(Added::default());
    };
    let single = [processor.clone()];
    let stages = match processor.get("processors").and_then(Value::as_array) {
        Some(stages) => stages.as_slice(),
        None => &single,
    };
    let mut added = Added::default();
    for stage in stages {
        match stage["type"].as_str() {
            Some("ByteLevel") => {
                for flag in &mut added.flags[..2] {
                    *flag = flag.or(Some(false));
                }
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

/// Reads a template such as `<s> A </s>`, which adds the special tokens at its ends.
fn template(
    json: &Config<'_>,
    config: Option<&Value>,
    stage: &Value,
    added: &mut Added,
) -> Result<(), InteropError> {
    let name_of = |name: &str| config.and_then(|config| token_text(config, name));
    let items = |field: &str| stage[field].as_array().map_or(&[][..], Vec::as_slice);
    let special = |item: Option<&Value>| {
        item.and_then(|item| item["SpecialToken"]["id"].as_str().map(str::to_owned))
    };

    let single = items("single");
    let at_end = |items: &mut dyn Iterator<Item = &Value>| -> Vec<String> {
        items.map_while(|item| special(Some(item))).collect()
    };
    let around = [at_end(&mut single.iter()), at_end(&mut single.iter().rev())];
    let mut ends = [None, None];
    for (place, (tokens, name)) in around.into_iter().zip(ADDED).enumerate() {
        let end = match &tokens[..] {
            [] => continue,
            [end] => end,
            several => {
                tracing::warn!(
                    "GGUF has no place for the {} tokens {several:?} that the tokenizer puts at an end of every text: they are left out",
                    several.len()
                );
                added.flags[place] = Some(false);
                continue;
            }
        };
        if name_of(name).is_some_and(|expected| expected != end) {
            let expected = format!("the {name}_token of tokenizer_config.json");
            return Err(json.error(
                "post_processor.single",
                format!("{end:?} at an end"),
                expected,
            ));
        }
        added.flags[place] = Some(true);
        ends[place] = Some(end.clone());
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
        added.flags[2] = Some(by_first || (between.len() == 2 && separates(&between[1])));
    }
    added.ends = ends;
    Ok(())
}
