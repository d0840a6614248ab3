//! Token losses from logits.

pub mod backward;
pub mod reference;
