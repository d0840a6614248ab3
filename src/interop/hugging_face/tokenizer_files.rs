//! The files of a tokenizer beside the weights, and how to generate by default.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{TokenIds, malformed};
use crate::interop::InteropError;

/// How text is generated unless a request says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decoding {
    /// The likeliest token.
    Greedy,
    /// A random one.
    Sample {
        /// Divides the logits.
        temperature: f64,
        /// Smallest probability mass that is chosen from.
        top_p: f64,
        /// Number of tokens that are chosen from; none for all.
        top_k: Option<usize>,
    },
}

/// A tokenizer and what is said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`, as it is.
    pub tokenizer_json: Vec<u8>,
    /// Special tokens; of several that end a document the first is the tokenizer's.
    pub token_ids: TokenIds,
    /// Whether a document is begun with `bos`.
    pub add_bos_token: bool,
    /// Longest context in tokens.
    pub model_max_length: usize,
    /// Jinja template of a conversation.
    pub chat_template: Option<String>,
    /// How to generate.
    pub decoding: Decoding,
}

impl TokenizerFiles {
    /// Names and contents of `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` and, with a template, `chat_template.jinja`.
    ///
    /// # Errors
    ///
    /// A `tokenizer.json` that is none; a special token that it does not define; a token whose id is not
    /// below `vocab_size`.
    pub fn files(&self, vocab_size: usize) -> Result<Vec<(String, Vec<u8>)>, InteropError> {
        let path = Path::new("tokenizer.json");
        let json = serde_json::from_slice::<Value>(&self.tokenizer_json)
            .map_err(|error| malformed(path, error.to_string(), "JSON"))?;
        let added = AddedTokens::new(&json)?;
        let largest = largest_model_id(&json).into_iter().chain(added.largest());
        if let Some(id) = largest.max().filter(|&id| id >= vocab_size as u64) {
            return Err(InteropError::Field {
                path: path.to_path_buf(),
                field: "model.vocab".into(),
                found: format!("of token id {id}"),
                expected: format!("ids below vocab_size ({vocab_size})"),
            });
        }
        let mut special = Map::new();
        for (key, id) in [
            ("bos_token", self.token_ids.bos),
            ("eos_token", self.token_ids.eos.first().copied()),
            ("pad_token", self.token_ids.pad),
        ] {
            if let Some(id) = id {
                special.insert(key.into(), added.content(id)?.into());
            }
        }
        let text = |json: Value| format!("{json:#}\n").into_bytes();
        let mut files = vec![
            ("tokenizer.json".into(), self.tokenizer_json.clone()),
            (
                "tokenizer_config.json".into(),
                text(self.tokenizer_config(&special, &added)),
            ),
            (
                "special_tokens_map.json".into(),
                text(Value::Object(special)),
            ),
            (
                "generation_config.json".into(),
                text(self.generation_config()),
            ),
        ];
        if let Some(template) = &self.chat_template {
            files.push(("chat_template.jinja".into(), template.clone().into_bytes()));
        }
        Ok(files)
    }

    fn tokenizer_config(&self, special: &Map<String, Value>, added: &AddedTokens<'_>) -> Value {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": special.get("bos_token"),
            "eos_token": special.get("eos_token"),
            "pad_token": special.get("pad_token"),
            "unk_token": null,
            "add_bos_token": self.add_bos_token,
            "add_eos_token": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": self.model_max_length,
        });
        if let Some(template) = &self.chat_template {
            config["chat_template"] = json!(template);
        }
        config["added_tokens_decoder"] = added.decoder();
        config
    }

    fn generation_config(&self) -> Value {
        let mut config = json!({
            "bos_token_id": self.token_ids.bos,
            "eos_token_id": self.token_ids.eos_json(),
            "do_sample": self.decoding != Decoding::Greedy,
        });
        if let Some(pad) = self.token_ids.pad {
            config["pad_token_id"] = json!(pad);
        }
        if let Decoding::Sample {
            temperature,
            top_p,
            top_k,
        } = self.decoding
        {
            config["temperature"] = json!(temperature);
            config["top_p"] = json!(top_p);
            // transformers takes an absent one for 50, and zero for all
            config["top_k"] = json!(top_k.unwrap_or(0));
        }
        config
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

    fn largest(&self) -> Option<u64> {
        self.0.iter().map(|(id, ..)| *id).max()
    }

    fn content(&self, wanted: u32) -> Result<&'a str, InteropError> {
        let token = self.0.iter().find(|(id, ..)| *id == u64::from(wanted));
        let content = token.map(|(_, content, _)| *content);
        content.ok_or_else(|| {
            let found = format!("no added token of id {wanted}");
            malformed("tokenizer.json", found, "every special token among them")
        })
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

/// The largest id of the model's own vocabulary, an object from token to id or a list of tokens.
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

    use super::{Decoding, TokenIds, TokenizerFiles};
    use crate::interop::hugging_face::FIXTURES;

    fn read(name: &str) -> Vec<u8> {
        fs::read(Path::new(FIXTURES).join("deepseek_v3_yarn").join(name)).unwrap()
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn files() -> TokenizerFiles {
        TokenizerFiles {
            tokenizer_json: read("tokenizer.json"),
            token_ids: TokenIds {
                bos: Some(0),
                eos: vec![1],
                pad: Some(1),
            },
            add_bos_token: false,
            model_max_length: 256,
            chat_template: Some(String::from_utf8(read("chat_template.jinja")).unwrap()),
            decoding: Decoding::Greedy,
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
        let expected = json!({"bos_token_id": 0, "eos_token_id": 1, "do_sample": false,
            "pad_token_id": 1});
        assert_eq!(generation, expected);
    }

    #[test]
    fn sampling_and_several_ends_are_told() {
        let mut files = files();
        files.token_ids.eos.push(3);
        files.chat_template = None;
        files.decoding = Decoding::Sample {
            temperature: 0.7,
            top_p: 0.9,
            top_k: None,
        };
        let generation = json(&written(&files, "generation_config.json").unwrap());
        assert_eq!(generation["eos_token_id"], json!([1, 3]));
        assert_eq!(generation["do_sample"], true);
        assert_eq!(
            (&generation["top_p"], &generation["top_k"]),
            (&json!(0.9), &json!(0))
        );
        let config = json(&written(&files, "tokenizer_config.json").unwrap());
        assert_eq!(config["eos_token"], "<|end_of_text|>");
        assert!(config.get("chat_template").is_none());
        assert!(written(&files, "chat_template.jinja").is_none());
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
        let mut unknown = files();
        unknown.token_ids.pad = Some(99);
        assert!(error(&unknown, 320).contains("no added token of id 99"));
        for text in ["{", r#"{"added_tokens":[{"id":"x"}]}"#] {
            unknown.tokenizer_json = text.into();
            assert!(error(&unknown, 320).starts_with("tokenizer.json: "));
        }
        unknown.tokenizer_json = br#"{"added_tokens":[{"id":320,"content":"x"}]}"#.to_vec();
        assert!(error(&unknown, 320).contains("token id 320"));
    }
}
