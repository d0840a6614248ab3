//! The files of a tokenizer in a model folder, and the default settings of generation.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{GenerationConfig, TokenIds, malformed};
use crate::interop::InteropError;

/// A tokenizer with its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// Content of `tokenizer.json`.
    pub tokenizer_json: Vec<u8>,
    /// The original `tokenizer_config.json`.
    pub config: Map<String, Value>,
    /// Whether the beginning-of-text token is put before texts.
    pub add_bos_token: bool,
    /// Whether the end-of-text token is put after texts.
    pub add_eos_token: bool,
    /// Ids of the model's special tokens.
    pub token_ids: TokenIds,
    /// Context length in tokens.
    pub model_max_length: usize,
    /// File names and contents of chat templates. A template in `config` stays there.
    pub chat_templates: Vec<(String, String)>,
    /// Default settings of generation.
    pub generation: GenerationConfig,
}

/// Special tokens that `special_tokens_map.json` lists.
const NAMED: [&str; 8] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "additional_special_tokens",
];

impl TokenizerFiles {
    /// Names and contents of `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` and the chat templates.
    ///
    /// # Errors
    ///
    /// An invalid `tokenizer.json`; a token with an id of `vocab_size` or more, unless it is a special token, which
    /// no text has.
    pub fn files(&self, vocab_size: usize) -> Result<Vec<(String, Vec<u8>)>, InteropError> {
        let path = Path::new("tokenizer.json");
        let json = serde_json::from_slice::<Value>(&self.tokenizer_json)
            .map_err(|error| malformed(path, error.to_string(), "JSON"))?;
        let added = AddedTokens::new(&json)?;
        let largest = largest_model_id(&json)
            .into_iter()
            .chain(added.largest_in_text());
        if let Some(id) = largest.max().filter(|&id| id >= vocab_size as u64) {
            return Err(InteropError::Field {
                path: path.to_path_buf(),
                field: "model.vocab".into(),
                found: format!("of token id {id}"),
                expected: format!("ids below vocab_size ({vocab_size})"),
            });
        }
        let text = |json: Value| format!("{json:#}\n").into_bytes();
        let mut files = vec![
            ("tokenizer.json".into(), self.tokenizer_json.clone()),
            (
                "tokenizer_config.json".into(),
                text(self.tokenizer_config(&added)),
            ),
            (
                "special_tokens_map.json".into(),
                text(self.special_tokens_map()),
            ),
            (
                "generation_config.json".into(),
                text(self.generation.written(&self.token_ids)),
            ),
        ];
        let templates = self.chat_templates.iter();
        files.extend(templates.map(|(name, text)| (name.clone(), text.clone().into_bytes())));
        Ok(files)
    }

    fn tokenizer_config(&self, added: &AddedTokens<'_>) -> Value {
        let mut config = self.config.clone();
        config.entry("unk_token").or_insert(Value::Null);
        config.insert("add_bos_token".into(), self.add_bos_token.into());
        config.insert("add_eos_token".into(), self.add_eos_token.into());
        config.insert("model_max_length".into(), self.model_max_length.into());
        config.insert("added_tokens_decoder".into(), added.decoder());
        config.into()
    }

    fn special_tokens_map(&self) -> Value {
        let named = NAMED.iter().filter_map(|&key| {
            let token = self.config.get(key).filter(|token| !token.is_null())?;
            Some((key.to_owned(), token.clone()))
        });
        Value::Object(named.collect())
    }
}

/// The `added_tokens` of a `tokenizer.json`.
#[derive(Debug)]
struct AddedTokens<'a>(Vec<(u64, &'a str, &'a Value)>);

impl<'a> AddedTokens<'a> {
    fn new(tokenizer: &'a Value) -> Result<Self, InteropError> {
        let tokens = tokenizer.get("added_tokens").and_then(Value::as_array);
        let tokens = tokens.into_iter().flatten().enumerate().map(|(at, token)| {
            let id = token.get("id").and_then(Value::as_u64);
            let content = token.get("content").and_then(Value::as_str);
            match (id, content) {
                (Some(id), Some(content)) => Ok((id, content, token)),
                _ => Err(InteropError::Field {
                    path: "tokenizer.json".into(),
                    field: format!("added_tokens.{at}"),
                    found: token.to_string(),
                    expected: "an object with `id` and `content`".into(),
                }),
            }
        });
        Ok(Self(tokens.collect::<Result<_, _>>()?))
    }

    /// Largest id that a text can have; special tokens within texts are plain text.
    fn largest_in_text(&self) -> Option<u64> {
        let in_text = self.0.iter().filter(|(.., token)| token["special"] != true);
        in_text.map(|(id, ..)| *id).max()
    }

    /// Tokens by id, with their flags.
    fn decoder(&self) -> Value {
        let token = |(id, content, token): &(u64, &str, &Value)| {
            let mut entry = json!({"content": content});
            for key in ["lstrip", "normalized", "rstrip", "single_word", "special"] {
                entry[key] = json!(token.get(key).and_then(Value::as_bool).unwrap_or(false));
            }
            (id.to_string(), entry)
        };
        Value::Object(self.0.iter().map(token).collect())
    }
}

/// Largest id of the model's own vocabulary, which is an object from token to id or a list of tokens.
fn largest_model_id(tokenizer: &Value) -> Option<u64> {
    match tokenizer.pointer("/model/vocab")? {
        Value::Object(ids) => ids.values().filter_map(Value::as_u64).max(),
        Value::Array(tokens) => (tokens.len() as u64).checked_sub(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{TokenIds, TokenizerFiles};
    use crate::interop::hugging_face::{FIXTURES, GenerationConfig, StatedSampling};

    fn read(name: &str) -> Vec<u8> {
        fs::read(Path::new(FIXTURES).join("deepseek_v3_yarn").join(name)).unwrap()
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn files() -> TokenizerFiles {
        TokenizerFiles {
            tokenizer_json: read("tokenizer.json"),
            config: json(&read("tokenizer_config.json"))
                .as_object()
                .unwrap()
                .clone(),
            token_ids: TokenIds {
                bos: Some(0),
                eos: vec![1],
                pad: Some(1),
            },
            add_bos_token: false,
            add_eos_token: false,
            model_max_length: 256,
            chat_templates: vec![(
                "chat_template.jinja".to_owned(),
                String::from_utf8(read("chat_template.jinja")).unwrap(),
            )],
            generation: GenerationConfig::default(),
        }
    }

    fn written(files: &TokenizerFiles, name: &str) -> Option<Vec<u8>> {
        let mut all = files.files(320).unwrap().into_iter();
        all.find(|(other, _)| other == name)
            .map(|(_, content)| content)
    }

    #[test]
    fn the_fixtures_files_come_out() {
        let files = files();
        for name in ["tokenizer.json", "chat_template.jinja"] {
            assert_eq!(written(&files, name).unwrap(), read(name), "{name}");
        }
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let written = json(&written(&files, name).unwrap());
            assert_eq!(written, json(&read(name)), "{name}");
        }
        let generation = json(&written(&files, "generation_config.json").unwrap());
        let expected = json!({"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1});
        assert_eq!(generation, expected);
    }

    #[test]
    fn sampling_and_several_ends_are_told() {
        let mut files = files();
        files.token_ids.eos.push(3);
        files.chat_templates.clear();
        files.config.shift_remove("chat_template");
        files.generation = GenerationConfig::sampling(StatedSampling {
            do_sample: Some(true),
            top_p: Some(0.9),
            ..Default::default()
        });
        let generation = json(&written(&files, "generation_config.json").unwrap());
        assert_eq!(generation["eos_token_id"], json!([1, 3]));
        assert_eq!(generation["do_sample"], true);
        assert_eq!(generation["top_p"], 0.9);
        assert!(generation.get("temperature").is_none());
        let config = json(&written(&files, "tokenizer_config.json").unwrap());
        assert_eq!(config["eos_token"], "<|end_of_text|>");
        assert!(config.get("chat_template").is_none());
        assert!(written(&files, "chat_template.jinja").is_none());
    }

    #[test]
    fn what_a_tokenizer_says_about_itself_is_kept() {
        let mut files = files();
        let lstrip = json!({"__type": "AddedToken", "content": "<|im_end|>", "lstrip": true});
        files.config.insert("eos_token".into(), lstrip.clone());
        files
            .config
            .insert("additional_special_tokens".into(), json!(["<|im_start|>"]));
        files
            .config
            .insert("split_special_tokens".into(), json!(false));
        let config = json(&written(&files, "tokenizer_config.json").unwrap());
        let map = json(&written(&files, "special_tokens_map.json").unwrap());
        for written in [&config, &map] {
            assert_eq!(written["eos_token"], lstrip);
            assert_eq!(
                written["additional_special_tokens"],
                json!(["<|im_start|>"])
            );
        }
        assert_eq!(config["split_special_tokens"], false);
    }

    #[test]
    fn tokenizers_that_do_not_fit_are_refused() {
        let error = |files: &TokenizerFiles, vocab| files.files(vocab).unwrap_err().to_string();
        let largest = json(&read("tokenizer.json"));
        let largest = super::largest_model_id(&largest).unwrap();
        let small = error(&files(), largest as usize);
        assert!(
            small.contains(&format!("`model.vocab` is of token id {largest}")),
            "{small}"
        );
        files().files(largest as usize + 1).unwrap();
        let mut other = files();
        for text in ["{", r#"{"added_tokens":[{"id":"x"}]}"#] {
            other.tokenizer_json = text.into();
            assert!(error(&other, 320).starts_with("tokenizer.json: "));
        }
        other.tokenizer_json = br#"{"added_tokens":[{"id":320,"content":"x"}]}"#.to_vec();
        assert!(error(&other, 320).contains("token id 320"));
        // special tokens without an embedding are accepted
        other.tokenizer_json =
            br#"{"added_tokens":[{"id":320,"content":"x","special":true}]}"#.to_vec();
        other.files(320).unwrap();
    }
}
