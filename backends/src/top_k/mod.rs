//! The `k` largest entries of a row, without a sort: burn 0.21 sorts floats on the host on every
//! GPU backend, once per MoE layer.

#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
