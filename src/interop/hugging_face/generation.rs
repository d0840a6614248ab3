//! `generation_config.json`: default settings of text generation.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{TokenIds, io, malformed};
use crate::interop::InteropError;

/// Name of the file in a model folder.
const FILE_NAME: &str = "generation_config.json";

/// Content of a `generation_config.json`, including keys that have no meaning here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationConfig(Map<String, Value>);

/// Stated settings of sampling; for the others, the reader's defaults apply.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StatedSampling {
    /// Whether tokens are sampled; otherwise the likeliest is taken.
    pub do_sample: Option<bool>,
    /// Temperature, which divides the logits.
    pub temperature: Option<f64>,
    /// Number of tokens to sample among; 0: all.
    pub top_k: Option<usize>,
    /// Probability mass of the tokens to sample among.
    pub top_p: Option<f64>,
    /// Smallest probability of a sampled token, relative to the likeliest one's.
    pub min_p: Option<f64>,
    /// Penalty on tokens that occurred before.
    pub repetition_penalty: Option<f64>,
}

/// A setting, the condition on its value, and the condition in words.
type Check<'a> = (&'a str, &'a dyn Fn(&Value) -> bool, &'a str);

impl GenerationConfig {
    /// Reads the file of a model folder, if it exists.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not a JSON object, or an id or a setting has the wrong type.
    pub fn read(folder: &Path) -> Result<Option<Self>, InteropError> {
        let path = folder.join(FILE_NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let parsed = serde_json::from_slice::<Self>(&text)
            .map_err(|error| malformed(&path, error.to_string(), "a JSON object"))?;
        parsed.check(&path)?;
        Ok(Some(parsed))
    }

    /// A configuration with only these sampling settings.
    pub fn sampling(sampling: StatedSampling) -> Self {
        let mut this = Map::new();
        let settings = [
            ("do_sample", sampling.do_sample.map(Value::from)),
            ("temperature", sampling.temperature.map(Value::from)),
            ("top_k", sampling.top_k.map(Value::from)),
            ("top_p", sampling.top_p.map(Value::from)),
            ("min_p", sampling.min_p.map(Value::from)),
            (
                "repetition_penalty",
                sampling.repetition_penalty.map(Value::from),
            ),
        ];
        for (key, value) in settings {
            this.extend(value.map(|value| (key.to_owned(), value)));
        }
        Self(this)
    }

    /// The stated sampling settings.
    pub fn stated(&self) -> StatedSampling {
        let number = |key: &str| self.0.get(key).and_then(Value::as_f64);
        StatedSampling {
            do_sample: self.0.get("do_sample").and_then(Value::as_bool),
            temperature: number("temperature"),
            top_k: number("top_k").map(|k| k as usize),
            top_p: number("top_p"),
            min_p: number("min_p"),
            repetition_penalty: number("repetition_penalty"),
        }
    }

    /// Ids of the tokens that end a text.
    pub fn eos(&self) -> Vec<u32> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.0.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(one) => id(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Removes all token ids, for use with another tokenizer.
    #[must_use]
    pub fn without_ids(mut self) -> Self {
        self.0.retain(|key, _| !key.ends_with("_token_id"));
        self
    }

    /// Removes ids beyond the vocabulary.
    #[must_use]
    pub fn within(mut self, vocab_size: usize) -> Self {
        let is_there = |id: &Value| id.as_u64().is_none_or(|id| id < vocab_size as u64);
        self.0.retain(|key, value| {
            if let (true, Value::Array(ids)) = (key.ends_with("_token_id"), &mut *value) {
                ids.retain(is_there);
                return !ids.is_empty();
            }
            !key.ends_with("_token_id") || is_there(value)
        });
        self
    }

    /// Content of the file, with the model's special tokens for ids that it does not state.
    pub fn written(&self, token_ids: &TokenIds) -> Value {
        let mut all = self.0.clone();
        let ids = [
            ("bos_token_id", json!(token_ids.bos)),
            ("eos_token_id", token_ids.eos_json()),
            ("pad_token_id", json!(token_ids.pad)),
        ];
        for (key, id) in ids {
            if !id.is_null() {
                all.entry(key).or_insert(id);
            }
        }
        all.into()
    }

    fn check(&self, path: &Path) -> Result<(), InteropError> {
        // a negative id means none
        let is_id = |value: &Value| {
            value
                .as_i64()
                .is_some_and(|id| u32::try_from(id.max(0)).is_ok())
        };
        let is_ids = |value: &Value| match value {
            Value::Array(ids) => ids.iter().all(is_id),
            one => is_id(one),
        };
        let is_positive = |value: &Value| value.as_f64().is_some_and(|it| it > 0.0);
        let is_share = |value: &Value| value.as_f64().is_some_and(|it| (0.0..=1.0).contains(&it));
        let checks: [Check<'_>; 7] = [
            ("eos_token_id", &is_ids, "a token id or a list of them"),
            ("do_sample", &Value::is_boolean, "true or false"),
            (
                "temperature",
                &|value| value.as_f64().is_some_and(|it| it >= 0.0),
                "0 or more",
            ),
            ("top_k", &Value::is_u64, "a number of tokens"),
            (
                "top_p",
                &|value| is_positive(value) && is_share(value),
                "above 0, at most 1",
            ),
            ("min_p", &is_share, "0 to 1"),
            ("repetition_penalty", &is_positive, "above 0"),
        ];
        for (field, is_right, expected) in checks {
            match self.0.get(field) {
                None | Some(Value::Null) => {}
                Some(value) if is_right(value) => {}
                Some(value) => {
                    return Err(InteropError::Field {
                        path: path.to_path_buf(),
                        field: field.into(),
                        found: value.to_string(),
                        expected: expected.into(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<GenerationConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
        GenerationConfig::read(folder.path()).map_err(|error| error.to_string())
    }

    fn parsed(json: Value) -> GenerationConfig {
        read(&json.to_string()).unwrap().unwrap()
    }

    #[test]
    fn all_of_the_file_is_kept_and_ids_are_added_where_it_has_none() {
        let found = parsed(
            json!({"eos_token_id": [0, 2], "do_sample": false, "cache_implementation": "x"}),
        );
        assert_eq!(found.eos(), [0, 2]);
        let ids = TokenIds {
            bos: Some(1),
            eos: vec![0],
            pad: None,
        };
        let expected = json!({"eos_token_id": [0, 2], "do_sample": false, "cache_implementation": "x",
            "bos_token_id": 1});
        assert_eq!(found.written(&ids), expected);
        assert_eq!(parsed(json!({"eos_token_id": 7})).eos(), [7]);
        assert!(parsed(json!({"eos_token_id": null})).eos().is_empty());
    }

    #[test]
    fn what_is_stated_is_told_and_nothing_else() {
        let stated = StatedSampling {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            repetition_penalty: Some(1.1),
            ..Default::default()
        };
        let file = json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": null,
            "repetition_penalty": 1.1});
        assert_eq!(parsed(file).stated(), stated);
        assert_eq!(GenerationConfig::sampling(stated).stated(), stated);
        assert_eq!(parsed(json!({})).stated(), StatedSampling::default());
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_dropped() {
        let found = parsed(json!({"eos_token_id": [0, 99], "pad_token_id": 99, "top_k": 99}));
        assert_eq!(
            found.clone().within(99),
            parsed(json!({"eos_token_id": [0], "top_k": 99}))
        );
        assert_eq!(found.clone().within(0), parsed(json!({"top_k": 99})));
        assert_eq!(found.without_ids(), parsed(json!({"top_k": 99})));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_file() {
        for (file, field, expected) in [
            (
                json!({"eos_token_id": ["x"]}),
                "eos_token_id",
                "a token id or a list of them",
            ),
            (json!({"temperature": -1}), "temperature", "0 or more"),
            (json!({"top_p": 0}), "top_p", "above 0, at most 1"),
            (json!({"top_k": 1.5}), "top_k", "a number of tokens"),
            (json!({"do_sample": "no"}), "do_sample", "true or false"),
        ] {
            let error = read(&file.to_string()).unwrap_err();
            let says = format!(
                "generation_config.json: `{field}` is {}, expected {expected}",
                file[field]
            );
            assert!(error.ends_with(&says), "{error}");
        }
        assert!(read("[1]").unwrap_err().contains("expected a JSON object"));
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(GenerationConfig::read(nothing.path()).unwrap(), None);
    }
}
