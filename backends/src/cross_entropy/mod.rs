//! Token losses from logits.

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
