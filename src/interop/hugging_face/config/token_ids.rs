//! Ids of special tokens in a configuration.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Fields;
use crate::interop::InteropError;

/// Ids of special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIds {
    /// Token that begins a document.
    pub bos: Option<u32>,
    /// Tokens that end a document.
    pub eos: Vec<u32>,
    /// Padding token.
    pub pad: Option<u32>,
}

impl TokenIds {
    pub(super) fn parse(
        fields: &Fields<'_>,
        bos: Option<u32>,
        eos: Option<u32>,
    ) -> Result<Self, InteropError> {
        // a negative id means none, as null does
        let id = |key, value: &Value| {
            if value.as_i64().is_some_and(|id| id < 0) {
                return Ok(None);
            }
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.map(Some).ok_or_else(|| fields.error(key, "a token id"))
        };
        // an absent key means the family's default
        let one = |key, default| match fields.value(key) {
            Some(value) => id(key, value),
            None if fields.has(key) => Ok(None),
            None => Ok(default),
        };
        let eos = match fields.value("eos_token_id") {
            Some(Value::Array(ids)) => ids
                .iter()
                .filter_map(|value| id("eos_token_id", value).transpose())
                .collect(),
            _ => one("eos_token_id", eos).map(Vec::from_iter),
        };
        Ok(Self {
            bos: one("bos_token_id", bos)?,
            eos: eos?,
            pad: one("pad_token_id", None)?,
        })
    }

    /// The end tokens as JSON: one id as a number, several as a list, none as null.
    pub(in super::super) fn eos_json(&self) -> Value {
        match self.eos[..] {
            [] => Value::Null,
            [id] => Value::from(id),
            _ => Value::from(self.eos.clone()),
        }
    }

    /// The keys of `config.json`. `pad_token_id` is written only if there is one.
    pub(super) fn entries(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("bos_token_id".into(), self.bos.into());
        map.insert("eos_token_id".into(), self.eos_json());
        map.extend(self.pad.map(|id| ("pad_token_id".into(), id.into())));
        map
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::TokenIds;
    use crate::interop::hugging_face::config::fields::Fields;

    fn parse(json: &Value) -> Result<TokenIds, String> {
        let fields = Fields::new(Path::new("c"), json.as_object().unwrap());
        TokenIds::parse(&fields, Some(1), Some(2)).map_err(|error| error.to_string())
    }

    #[test]
    fn one_several_none_and_absent() {
        let absent = parse(&json!({})).unwrap();
        assert_eq!(
            (absent.bos, &absent.eos[..], absent.pad),
            (Some(1), &[2][..], None)
        );
        let given = json!({"bos_token_id": null, "eos_token_id": [7, 8], "pad_token_id": 3});
        let given = parse(&given).unwrap();
        assert_eq!((given.bos, given.pad), (None, Some(3)));
        assert_eq!(given.eos_json(), json!([7, 8]));
        assert_eq!(given.entries()["pad_token_id"], json!(3));
        assert_eq!(absent.eos_json(), json!(2));
        let none = parse(&json!({"eos_token_id": null})).unwrap();
        assert_eq!(none.eos_json(), Value::Null);
        let negative = json!({"bos_token_id": -1, "eos_token_id": [7, -1], "pad_token_id": -1});
        let negative = parse(&negative).unwrap();
        assert_eq!((negative.bos, negative.pad), (None, None));
        assert_eq!(negative.eos, [7]);
        let negative = parse(&json!({"eos_token_id": -1})).unwrap();
        assert_eq!(negative.eos_json(), Value::Null);
        let error = parse(&json!({"eos_token_id": [1, "x"]})).unwrap_err();
        assert_eq!(error, "c: `eos_token_id` is [1,\"x\"], expected a token id");
    }
}
