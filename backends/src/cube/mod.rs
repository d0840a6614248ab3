//! GPUs: kernels in CubeCL (<https://github.com/tracel-ai/cubecl>), one source for CUDA, Vulkan and Metal.
//!
//! A kernel stands beside the reference of its operation, as `cube.rs`; here is what kernels share. They are for
//! few tokens, as in decoding, where burn's operations would wait for the host, read weights that nobody chose,
//! or unpack a whole matrix. More tokens go the way of burn's operations.

mod backend;
pub(crate) mod columns;
mod fusion;
pub(crate) mod launch;
mod linear_attention;
mod pages;
mod stream;

/// Most rows of an input that a kernel of a product with weights takes: each reads the weights anew.
pub(crate) const FEW: usize = 8;

/// True for as many rows as the kernels of products are for.
pub(crate) fn few(rows: usize) -> bool {
    (1..=FEW).contains(&rows)
}
