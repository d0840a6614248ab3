//! The entries of a row that a hard mask keeps: activations that are sparse by choice.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
