//! Typed access to metadata keys.

use super::reader::GgufFile;
use super::value::{GgufArray, GgufValue};
use crate::interop::InteropError;

/// The metadata keys under a prefix, with errors that name file and key.
#[derive(Debug)]
pub struct Keys<'a> {
    pub(super) file: &'a GgufFile,
    pub(super) prefix: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of a file's tokenizer.
    pub(super) fn of_tokenizer(file: &'a GgufFile) -> Self {
        Self {
            file,
            prefix: "tokenizer.ggml",
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a GgufValue> {
        self.file.value(&format!("{}.{key}", self.prefix))
    }

    pub(super) fn get<T>(
        &self,
        key: &str,
        read: impl Fn(&'a GgufValue) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, InteropError> {
        match self.value(key) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| self.error(key, value.to_string(), expected)),
        }
    }

    pub(in crate::interop) fn optional_count(
        &self,
        key: &str,
    ) -> Result<Option<u32>, InteropError> {
        self.get(
            key,
            |value| value.as_u64()?.try_into().ok(),
            "a whole number below 2^32",
        )
    }

    pub(super) fn count(&self, key: &str) -> Result<u32, InteropError> {
        self.optional_count(key)?
            .ok_or_else(|| self.missing(key, "a whole number"))
    }

    /// A count that is stored once for all layers, or per layer. Layers with different counts are refused.
    pub(super) fn optional_count_of_layers(&self, key: &str) -> Result<Option<u32>, InteropError> {
        let value = self.value(key);
        let Some(GgufValue::Array(array)) = value else {
            return self.optional_count(key);
        };
        let layers = self.count("block_count")? as usize;
        let counts = array.counts().unwrap_or_default();
        let found = match (counts.iter().min(), counts.iter().max()) {
            (Some(least), Some(most)) if counts.len() == layers && least == most => {
                return Ok(Some(*least));
            }
            (Some(least), Some(most)) => format!("{} numbers from {least} to {most}", counts.len()),
            _ => value.map(ToString::to_string).unwrap_or_default(),
        };
        Err(self.error(
            key,
            found,
            &format!("one number, or {layers} times the same"),
        ))
    }

    /// A required count as in [`optional_count_of_layers`](Self::optional_count_of_layers).
    pub(super) fn count_of_layers(&self, key: &str) -> Result<u32, InteropError> {
        self.optional_count_of_layers(key)?
            .ok_or_else(|| self.missing(key, "a whole number"))
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, InteropError> {
        self.get(key, GgufValue::as_f64, "a floating-point number")
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, InteropError> {
        self.optional_number(key)?
            .ok_or_else(|| self.missing(key, "a number"))
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, InteropError> {
        self.get(key, GgufValue::as_str, "a text")?
            .ok_or_else(|| self.missing(key, "a text"))
    }

    pub(super) fn texts(&self, key: &str) -> Result<&'a [String], InteropError> {
        match self.value(key) {
            Some(GgufValue::Array(GgufArray::String(texts))) => Ok(texts),
            Some(other) => Err(self.error(key, other.to_string(), "a list of texts")),
            None => Err(self.missing(key, "a list of texts")),
        }
    }

    pub(super) fn missing(&self, key: &str, expected: &str) -> InteropError {
        self.error(key, "missing".to_owned(), expected)
    }

    pub(in crate::interop) fn error(
        &self,
        key: &str,
        found: String,
        expected: &str,
    ) -> InteropError {
        InteropError::Field {
            path: self.file.path().to_owned(),
            field: format!("{}.{key}", self.prefix),
            found,
            expected: expected.to_owned(),
        }
    }
}
