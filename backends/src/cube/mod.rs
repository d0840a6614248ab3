//! GPU kernels in CubeCL (<https://github.com/tracel-ai/cubecl>), one source for CUDA, Vulkan and Metal.
//!
//! A kernel is the `cube.rs` beside the reference of its operation; this module holds what kernels share. Kernels
//! are for few tokens, as in decoding, where burn's operations would wait for the host, read weights of experts that
//! were not chosen, or unpack a whole matrix. For more tokens burn's operations are used.

mod backend;
pub(crate) mod columns;
mod fusion;
pub(crate) mod launch;
mod linear_attention;
mod pages;
mod stream;

/// Maximum number of input rows of a kernel that multiplies with weights: each row reads the weights again.
pub(crate) const FEW: usize = 8;

/// Whether the kernels for products support this number of rows.
pub(crate) fn few(rows: usize) -> bool {
    (1..=FEW).contains(&rows)
}
