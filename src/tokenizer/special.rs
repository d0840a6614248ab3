//! Special tokens of our own tokenizers, and common names of others'.

use serde_json::{Map, Value};

use crate::domain::Domain;

/// Padding; id 0 in our own tokenizers.
pub const PAD: &str = "<|pad|>";
/// Beginning of a document.
pub const BOS: &str = "<|bos|>";
/// End of a document.
pub const EOS: &str = "<|eos|>";
/// Opens a system turn.
pub const SYSTEM: &str = "<|system|>";
/// Opens a user's turn.
pub const USER: &str = "<|user|>";
/// Opens the model's turn.
pub const ASSISTANT: &str = "<|assistant|>";
/// Closes a turn.
pub const END: &str = "<|end|>";

const OTHER_BOS: [&str; 6] = [
    "<|begin_of_text|>",
    "<｜begin▁of▁sentence｜>",
    "<s>",
    "<bos>",
    "<|startoftext|>",
    "[BOS]",
];
const OTHER_EOS: [&str; 6] = [
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<eos>",
    "<|endoftext|>",
    "[EOS]",
];
const OTHER_PAD: [&str; 5] = [
    "<pad>",
    "<|padding|>",
    "[PAD]",
    "<|finetune_right_pad_id|>",
    "<｜▁pad▁｜>",
];

/// Control token for the domain of the following document, as `<|domain:code|>`.
pub fn domain_token_name(domain: Domain) -> String {
    format!("<|domain:{domain}|>")
}

/// All special tokens of our own tokenizers, in the order of their ids from 0.
pub(super) fn ours() -> Vec<String> {
    [PAD, BOS, EOS, SYSTEM, USER, ASSISTANT, END]
        .map(String::from)
        .into_iter()
        .chain(Domain::ALL.map(domain_token_name))
        .collect()
}

/// Ids of the tokens with a role in every document.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Roles {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
}

impl Roles {
    /// Reads the roles from a `tokenizer_config.json`. Common names are tried for the end and the padding if they are
    /// not stated, since training needs them, and for all roles if there is no configuration.
    pub(super) fn find(
        config: &Map<String, Value>,
        token_to_id: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let role = |key: &str, ours: &str, others: &[&str]| match config.get(key) {
            Some(stated) => token_content(stated).and_then(&token_to_id),
            None if key == "bos_token" && !config.is_empty() => None,
            None => std::iter::once(&ours)
                .chain(others)
                .find_map(|name| token_to_id(name)),
        };
        Self {
            bos: role("bos_token", BOS, &OTHER_BOS),
            eos: role("eos_token", EOS, &OTHER_EOS),
            pad: role("pad_token", PAD, &OTHER_PAD),
        }
    }
}

/// Content of a token in `tokenizer_config.json`, which is a string or an object with `content`.
pub(super) fn token_content(stated: &Value) -> Option<&str> {
    stated
        .as_str()
        .or_else(|| stated.get("content").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_token_zero_and_domains_come_last() {
        let names = ours();
        assert_eq!(names[0], PAD);
        assert_eq!(names.len(), 7 + Domain::COUNT);
        assert_eq!(names[7 + Domain::Code.index()], "<|domain:code|>");
    }

    #[test]
    fn a_stated_role_beats_a_known_name() {
        let ids = |name: &str| match name {
            "</s>" => Some(2),
            "<|im_end|>" => Some(9),
            "<s>" => Some(1),
            _ => None,
        };
        let stated = serde_json::json!({"eos_token": {"content": "<|im_end|>"}, "bos_token": null});
        let Value::Object(config) = stated else {
            unreachable!()
        };

        let roles = Roles::find(&config, ids);
        assert_eq!((roles.bos, roles.eos, roles.pad), (None, Some(9), None));

        let guessed = Roles::find(&Map::new(), ids);
        assert_eq!((guessed.bos, guessed.eos), (Some(1), Some(2)));

        // without `bos_token` in the configuration there is no beginning
        let silent = Map::from_iter([("tokenizer_class".to_owned(), "x".into())]);
        let guessed = Roles::find(&silent, ids);
        assert_eq!((guessed.bos, guessed.eos), (None, Some(2)));
    }
}
