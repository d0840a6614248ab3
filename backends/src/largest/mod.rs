//! Selection of the largest entries of every row, for activation sparsity.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
