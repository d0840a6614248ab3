//! Cross-entropy loss of tokens from logits.

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
