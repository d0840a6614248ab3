//! The `k` largest entries of a row, without sorting: on every GPU backend burn 0.21 sorts floats on the host, which
//! would happen once per MoE layer.

#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
