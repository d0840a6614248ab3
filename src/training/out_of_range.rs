//! Error of an invalid setting.

use std::fmt::Display;

/// A value outside its allowed range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is {value}, expected {expected}")]
pub struct OutOfRange {
    /// Path of the key.
    pub path: String,
    /// The value.
    pub value: String,
    /// The allowed values.
    pub expected: String,
}

impl OutOfRange {
    /// Checks that `holds` is true.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if `holds` is false.
    pub fn check(
        holds: bool,
        path: &str,
        value: impl Display,
        expected: impl Into<String>,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self {
            path: path.into(),
            value: value.to_string(),
            expected: expected.into(),
        })
    }

    /// Checks that `value` lies between 0 and 1.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] otherwise.
    pub fn fraction(path: &str, value: f64) -> Result<(), Self> {
        Self::check((0.0..=1.0).contains(&value), path, value, "0 to 1")
    }

    /// Checks that `value` is finite and above 0.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] otherwise.
    pub fn positive(path: &str, value: f64) -> Result<(), Self> {
        let holds = value > 0.0 && value.is_finite();
        Self::check(holds, path, value, "a positive number")
    }

    /// Prefixes the error's path with `section`.
    pub fn within(mut self, section: &str) -> Self {
        self.path = format!("{section}.{}", self.path);
        self
    }
}
