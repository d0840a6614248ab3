//! Normalization of rows to unit length, as for queries and keys of linear attention.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

/// Epsilon that keeps the divisor of a zero row above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnitEps {
    /// `x / (|x| + eps)`.
    Length(f64),
    /// `x / sqrt(|x|^2 + eps)`.
    Square(f64),
}
