//! Typed access to the fields of a JSON file, with errors that name file and field.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::interop::InteropError;

/// A JSON object of a file.
pub(super) struct Config<'a> {
    path: PathBuf,
    fields: &'a Value,
}

impl<'a> Config<'a> {
    pub(super) fn new(path: &Path, fields: &'a Value) -> Self {
        Self {
            path: path.to_owned(),
            fields,
        }
    }

    /// A field that exists and is not null.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// The object in a field.
    pub(super) fn object(&self, field: &str) -> Option<Config<'a>> {
        Some(Config {
            path: self.path.clone(),
            fields: self.get(field).filter(|value| value.is_object())?,
        })
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, InteropError> {
        self.optional(field, Value::as_str, "a text")
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, InteropError> {
        Ok(self
            .optional(field, Value::as_bool, "true or false")?
            .unwrap_or(false))
    }

    pub(super) fn error(
        &self,
        field: &str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> InteropError {
        InteropError::Field {
            path: self.path.clone(),
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn optional<T>(
        &self,
        field: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, InteropError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| self.error(field, value, expected)),
        }
    }
}
