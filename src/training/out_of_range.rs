//! A setting that is not what it may be.

use std::fmt::Display;

/// A value outside of what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is {value}, expected {expected}")]
pub struct OutOfRange {
    /// Path of the key.
    pub path: String,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl OutOfRange {
    /// Refuses `value` unless `holds`.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if it does not hold.
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

    /// Refuses what is not within 0 to 1.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for such a value.
    pub fn fraction(path: &str, value: f64) -> Result<(), Self> {
        Self::check((0.0..=1.0).contains(&value), path, value, "0 to 1")
    }

    /// Refuses what is not above 0, or not finite.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for such a value.
    pub fn positive(path: &str, value: f64) -> Result<(), Self> {
        let holds = value > 0.0 && value.is_finite();
        Self::check(holds, path, value, "a positive number")
    }

    /// The same error, its path seen from the section around it.
    pub fn within(mut self, section: &str) -> Self {
        self.path = format!("{section}.{}", self.path);
        self
    }
}
