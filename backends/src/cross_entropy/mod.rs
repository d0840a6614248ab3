//! Token losses from logits.

pub mod reference;
