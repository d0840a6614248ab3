//! The fields of a request's JSON object, read one by one, so that every error names its field.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{ApiError, shortened};

/// Fields that are still to be read. A null is as if the field were absent.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

/// Fields of OpenAI's requests that change nothing here.
const WITHOUT_EFFECT: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

impl Fields {
    /// Parses a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self::of(fields)),
            Ok(_) => Err(ApiError::bad("the body is JSON, but no object")),
            Err(error) => Err(ApiError::bad(format!(
                "the body is no valid JSON: {}",
                shortened(&error.to_string())
            ))),
        }
    }

    /// The fields of an object.
    pub(super) fn of(mut fields: Map<String, Value>) -> Self {
        fields.retain(|_, value| !value.is_null());
        Self(fields)
    }

    /// Removes and returns a field.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A field that stays.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Removes a field of one type.
    fn typed<T>(
        &mut self,
        name: &str,
        expected: impl Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(wrong(name, &value, expected)),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.typed(name, "a string", |it| it.as_str().map(str::to_owned))
    }

    /// A boolean.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let [least, most] = [range.start(), range.end()];
        let expected = match *most {
            usize::MAX => format!("a whole number, {least} or more"),
            _ => format!("a whole number, {least} to {most}"),
        };
        self.typed(name, expected, |it| {
            let whole = it.as_u64().or_else(|| whole(it.as_f64()?));
            let count = usize::try_from(whole?).ok()?;
            range.contains(&count).then_some(count)
        })
    }

    /// A number.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let expected = format!("a number, {} to {}", range.start(), range.end());
        self.typed(name, expected, |it| {
            it.as_f64().filter(|number| range.contains(number))
        })
    }

    /// A seed: any whole number of 64 bits.
    pub(super) fn seed(&mut self) -> Result<Option<u64>, ApiError> {
        self.typed("seed", "a whole number of 64 bits", |it| {
            it.as_u64().or_else(|| it.as_i64().map(i64::cast_unsigned))
        })
    }

    /// `model`, which must be the one that is served.
    pub(super) fn only_model(&mut self, served: &str) -> Result<(), ApiError> {
        match self.text("model")? {
            Some(name) if name != served => Err(ApiError::no_model(&name, served)),
            _ => Ok(()),
        }
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let texts = self.typed(name, "a string or a list of strings", |it| match it {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                let texts = items.iter().map(|it| it.as_str().map(str::to_owned));
                texts.collect()
            }
            _ => None,
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// A list of any values.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, ApiError> {
        let list = self.typed(name, "a list", |it| it.as_array().cloned())?;
        Ok(list.unwrap_or_default())
    }

    /// The fields of an object within the request.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        self.typed(name, "an object", |it| {
            it.as_object().cloned().map(Self::of)
        })
    }

    /// Removes a field that is not supported, if its value asks for nothing.
    pub(super) fn only(
        &mut self,
        name: &str,
        asks_nothing: impl FnOnce(&Value) -> bool,
    ) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !asks_nothing(&value) => {
                let value = shortened(&value.to_string());
                Err(ApiError {
                    code: Some("unsupported_parameter"),
                    ..ApiError::field(name, format!("`{name}` of {value} is not supported here"))
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what was not read, except fields without effect.
    pub(super) fn end(self) -> Result<(), ApiError> {
        let mut names = self.0.keys().map(String::as_str);
        match names.find(|name| !WITHOUT_EFFECT.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let name = shortened(name);
                Err(ApiError {
                    code: Some("unknown_parameter"),
                    ..ApiError::field(
                        name.clone(),
                        format!("the field `{name}` is not known here: leave it out"),
                    )
                })
            }
        }
    }
}

/// Error of a field with a wrong value.
pub(super) fn wrong(name: &str, value: &Value, expected: impl Display) -> ApiError {
    let value = shortened(&value.to_string());
    ApiError::field(name, format!("`{name}` is {value}, expected {expected}"))
}

/// A number without a fraction, as 3.0.
fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
    is_whole.then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_null_is_an_absent_field_and_a_wrong_value_is_named_with_its_field() {
        let mut it = fields(json!({"a": null, "b": 1.0, "c": -3, "d": "x", "seed": -1}));
        assert_eq!(it.text("a"), Ok(None));
        assert_eq!(it.count("b", 0..=5), Ok(Some(1)));
        let error = it.count("c", 0..=5).unwrap_err();
        assert_eq!(error.message, "`c` is -3, expected a whole number, 0 to 5");
        assert_eq!(error.param.as_deref(), Some("c"));
        assert!(it.number("d", 0.0..=1.0).is_err());
        assert_eq!(it.seed(), Ok(Some(u64::MAX)));
        assert_eq!(it.end(), Ok(()));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name_unless_it_has_no_effect() {
        assert_eq!(fields(json!({"user": "me", "store": true})).end(), Ok(()));
        let error = fields(json!({"temprature": 1})).end().unwrap_err();
        assert!(error.message.contains("`temprature`"), "{}", error.message);
        let mut it = fields(json!({"logit_bias": {"5": 1}, "tools": []}));
        let is_empty = |it: &Value| it.as_array().is_some_and(Vec::is_empty);
        assert_eq!(it.only("tools", is_empty), Ok(()));
        assert!(it.only("logit_bias", is_empty).is_err());
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["", "[1]", "{", "\"a\"", "{\"a\":1}x", "\u{1}"] {
            assert!(Fields::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Fields::parse(b"{\"a\":\"\xff\"}").is_err());
        let deep = "[".repeat(100_000);
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }
}
