//! This crate's own kind of tokenizer: a byte-level BPE as in GPT-2, with our special tokens.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokenizers::PostProcessorWrapper;

use super::{Cause, special};

/// GPT-2's byte alphabet: every byte as a visible character, either itself or one from U+0100 on.
static BYTE_CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte as u8 {
        visible @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => visible.into(),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    })
});

static CHAR_BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| BYTE_CHARS.iter().copied().zip(0..=255).collect());

pub(super) fn char_to_byte(character: char) -> Option<u8> {
    CHAR_BYTES.get(&character).copied()
}

/// Bytes of a byte-level token; content that is not in the byte alphabet stands for its own UTF-8 bytes.
pub(super) fn content_bytes(content: &str) -> Cow<'_, [u8]> {
    match content.chars().map(char_to_byte).collect() {
        Some(bytes) => Cow::Owned(bytes),
        None => Cow::Borrowed(content.as_bytes()),
    }
}

/// The initial vocabulary: special tokens, then the byte alphabet in the order of its characters.
pub(super) fn base_vocabulary() -> Vec<String> {
    let mut alphabet = *BYTE_CHARS;
    alphabet.sort_unstable();
    let mut contents = special::ours();
    contents.extend(alphabet.map(String::from));
    contents
}

/// Id of every byte in [`base_vocabulary`].
pub(super) fn byte_ids() -> [u32; 256] {
    let mut ids = [0; 256];
    for (id, content) in (0..).zip(base_vocabulary()).skip(special::ours().len()) {
        if let Some(byte) = content.chars().next().and_then(char_to_byte) {
            ids[byte as usize] = id;
        }
    }
    ids
}

/// `tokenizer.json` of a byte-level BPE with our special tokens.
pub(super) fn json(merges: &[(String, String)]) -> String {
    let mut contents = base_vocabulary();
    let mut vocab: serde_json::Map<String, Value> = (0..)
        .zip(&contents)
        .map(|(id, content): (u32, _)| (content.clone(), id.into()))
        .collect();
    for (left, right) in merges {
        let joined = format!("{left}{right}");
        if !vocab.contains_key(&joined) {
            vocab.insert(joined.clone(), contents.len().into());
            contents.push(joined);
        }
    }
    let specials = special::ours();
    let added: Vec<Value> = (0..)
        .zip(&specials)
        .map(|(id, content): (u32, _)| {
            json!({"id": id, "content": content, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": opening(),
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    })
    .to_string()
}

/// The post-processor of [`opening`], for the `tokenizers` crate.
pub(super) fn post_processor() -> Result<PostProcessorWrapper, Cause> {
    Ok(serde_json::from_value(opening())?)
}

/// A post-processor that puts `<|bos|>` before a text, so that prompts begin like our documents in other engines too.
fn opening() -> Value {
    let bos = json!({"SpecialToken": {"id": special::BOS, "type_id": 0}});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let bos_id = special::ours().iter().position(|name| name == special::BOS);
    json!({
        "type": "TemplateProcessing",
        "single": [bos, sequence("A")],
        "pair": [bos, sequence("A"), sequence("B")],
        "special_tokens": {special::BOS: {"id": special::BOS, "ids": [bos_id], "tokens": [special::BOS]}},
    })
}
