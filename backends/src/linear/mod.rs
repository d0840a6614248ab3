//! Product of token rows with a weight matrix.

pub mod reference;
