//! Products of token rows with a weight matrix.

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
