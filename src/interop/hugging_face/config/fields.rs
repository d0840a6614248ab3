//! Typed access to the fields of a JSON object, with errors that name the full path.

use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value};

use crate::interop::InteropError;

/// Upper bound of sizes; the product of two fits into 64 bits.
const MAX_SIZE: u64 = u32::MAX as u64;

const DTYPES: [(&str, Dtype); 4] = [
    ("float32", Dtype::F32),
    ("bfloat16", Dtype::BF16),
    ("float16", Dtype::F16),
    ("float64", Dtype::F64),
];

/// An object in `config.json`. Null values count as absent.
#[derive(Debug)]
pub(in crate::interop) struct Fields<'a> {
    path: &'a Path,
    /// Path of the object in the file with a trailing dot; empty for the top-level object.
    within: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(in crate::interop) fn new(path: &'a Path, map: &'a Map<String, Value>) -> Self {
        Self {
            path,
            within: String::new(),
            map,
        }
    }

    /// A nested object.
    pub(in crate::interop) fn section(&self, key: &str) -> Result<Option<Self>, InteropError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                path: self.path,
                within: format!("{}{key}.", self.within),
                map,
            })),
            Some(_) => Err(self.error(key, "an object")),
        }
    }

    /// Error of a field whose value is not `expected`.
    pub(in crate::interop) fn error(&self, key: &str, expected: impl Into<String>) -> InteropError {
        let found = self.map.get(key).map_or("absent".into(), Value::to_string);
        let short = found.chars().take(80).collect::<String>();
        InteropError::Field {
            path: self.path.to_path_buf(),
            field: format!("{}{key}", self.within),
            found: if short == found { found } else { short + "..." },
            expected: expected.into(),
        }
    }

    /// Whether the key exists, even with a null value.
    pub(in crate::interop) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The value of a key, unless it is null.
    pub(in crate::interop) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(in crate::interop) fn text(&self, key: &str) -> Option<&'a str> {
        self.value(key).and_then(Value::as_str)
    }

    /// A whole number of at least `least`; `None` if absent.
    pub(in crate::interop) fn number(
        &self,
        key: &str,
        least: u64,
    ) -> Result<Option<usize>, InteropError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        value
            .as_u64()
            .filter(|number| (least..=MAX_SIZE).contains(number))
            .and_then(|number| usize::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| self.error(key, format!("a whole number from {least} to {MAX_SIZE}")))
    }

    /// A required size.
    pub(in crate::interop) fn size(&self, key: &str) -> Result<usize, InteropError> {
        let size = self.number(key, 1)?;
        size.ok_or_else(|| self.error(key, format!("a whole number from 1 to {MAX_SIZE}")))
    }

    pub(in crate::interop) fn size_or(
        &self,
        key: &str,
        default: usize,
    ) -> Result<usize, InteropError> {
        Ok(self.number(key, 1)?.unwrap_or(default))
    }

    pub(in crate::interop) fn count_or(
        &self,
        key: &str,
        default: usize,
    ) -> Result<usize, InteropError> {
        Ok(self.number(key, 0)?.unwrap_or(default))
    }

    /// A finite number; `None` if absent.
    pub(in crate::interop) fn float(&self, key: &str) -> Result<Option<f64>, InteropError> {
        match self.value(key).map(Value::as_f64) {
            None => Ok(None),
            Some(Some(number)) if number.is_finite() => Ok(Some(number)),
            Some(_) => Err(self.error(key, "a number")),
        }
    }

    /// A positive number; `None` if absent.
    pub(in crate::interop) fn positive(&self, key: &str) -> Result<Option<f64>, InteropError> {
        match self.float(key)? {
            Some(number) if number <= 0.0 => Err(self.error(key, "a number above 0")),
            number => Ok(number),
        }
    }

    pub(in crate::interop) fn positive_or(
        &self,
        key: &str,
        default: f64,
    ) -> Result<f64, InteropError> {
        Ok(self.positive(key)?.unwrap_or(default))
    }

    /// A required positive number.
    pub(in crate::interop) fn required_positive(&self, key: &str) -> Result<f64, InteropError> {
        let number = self.positive(key)?;
        number.ok_or_else(|| self.error(key, "a number above 0"))
    }

    pub(in crate::interop) fn flag_or(
        &self,
        key: &str,
        default: bool,
    ) -> Result<bool, InteropError> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.error(key, "true or false")),
        }
    }

    /// Refuses every value but `supported`; the key may be absent.
    pub(in crate::interop) fn only(&self, key: &str, supported: Value) -> Result<(), InteropError> {
        match self.value(key) {
            Some(value) if *value != supported => Err(self.error(key, supported.to_string())),
            _ => Ok(()),
        }
    }

    /// Refuses keys whose effect is not supported.
    pub(in crate::interop) fn none_of(&self, keys: &[&str]) -> Result<(), InteropError> {
        match keys.iter().find(|key| self.value(key).is_some()) {
            Some(key) => Err(self.error(key, "no such key (its effect is not supported)")),
            None => Ok(()),
        }
    }

    /// Element type of the weights: `dtype` or, before transformers 5, `torch_dtype`.
    pub(in crate::interop) fn dtype(&self) -> Result<Option<Dtype>, InteropError> {
        let key = match self.value("dtype") {
            Some(_) => "dtype",
            None => "torch_dtype",
        };
        let name = self.text(key);
        // "auto" leaves it to the weights
        if self.value(key).is_none() || name == Some("auto") {
            return Ok(None);
        }
        let name = name.map(|name| name.strip_prefix("torch.").unwrap_or(name));
        let known = DTYPES.iter().find(|(known, _)| name == Some(known));
        let known = known.map(|(_, dtype)| Some(*dtype));
        known.ok_or_else(|| self.error(key, "float32, bfloat16, float16 or float64"))
    }
}

/// Name of an element type in `config.json`; null for types without one.
pub(super) fn dtype_name(dtype: Option<Dtype>) -> Value {
    let known = DTYPES.iter().find(|(_, known)| Some(*known) == dtype);
    known.map_or(Value::Null, |(name, _)| Value::from(*name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::Dtype;
    use serde_json::{Value, json};

    use super::{Fields, dtype_name};

    #[test]
    fn errors_name_the_full_path_and_what_is_supported() {
        let json = json!({"a": {"size": 0, "big": 1u64 << 40, "real": -1.5, "word": "x",
            "flag": 1, "null": null, "dtype": "int4"}, "b": 3});
        let fields = Fields::new(Path::new("c"), json.as_object().unwrap());
        let section = fields.section("a").unwrap().unwrap();
        let size = "expected a whole number from 1 to 4294967295";
        let cases = [
            (
                section.size("size").map(drop),
                format!("c: `a.size` is 0, {size}"),
            ),
            (
                section.size("big").map(drop),
                format!("c: `a.big` is 1099511627776, {size}"),
            ),
            (
                section.size("null").map(drop),
                format!("c: `a.null` is null, {size}"),
            ),
            (
                section.size("no").map(drop),
                format!("c: `a.no` is absent, {size}"),
            ),
            (
                section.positive("real").map(drop),
                "c: `a.real` is -1.5, expected a number above 0".into(),
            ),
            (
                section.float("word").map(drop),
                "c: `a.word` is \"x\", expected a number".into(),
            ),
            (
                section.flag_or("flag", true).map(drop),
                "c: `a.flag` is 1, expected true or false".into(),
            ),
            (
                section.only("word", json!("y")),
                "c: `a.word` is \"x\", expected \"y\"".into(),
            ),
            (
                section.dtype().map(drop),
                "c: `a.dtype` is \"int4\", expected float32, bfloat16, float16 or float64".into(),
            ),
            (
                fields.section("b").map(drop),
                "c: `b` is 3, expected an object".into(),
            ),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        for (name, dtype) in [
            ("auto", None),
            ("torch.bfloat16", Some(Dtype::BF16)),
            ("float16", Some(Dtype::F16)),
        ] {
            let json = json!({ "torch_dtype": name });
            let fields = Fields::new(Path::new("c"), json.as_object().unwrap());
            assert_eq!(fields.dtype().unwrap(), dtype, "{name}");
        }
        section.none_of(&["null", "no"]).unwrap();
        section.none_of(&["word"]).unwrap_err();
        assert!(section.has("null") && !section.has("no"));
        assert_eq!(dtype_name(None), Value::Null);
    }
}
