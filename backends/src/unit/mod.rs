//! Rows of length one, as the queries and keys of linear attentions are.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;

/// What keeps a row of zeros from dividing by zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnitEps {
    /// `x / (|x| + eps)`.
    Length(f64),
    /// `x / sqrt(|x|^2 + eps)`.
    Square(f64),
}
