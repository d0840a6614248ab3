//! Product of token rows with a weight matrix.

pub mod backward;
pub mod reference;
