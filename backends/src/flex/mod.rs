//! Fast CPU forms for burn-flex, and what they share.
//!
//! burn-flex runs elementwise operations and reductions on one thread, and clears the output buffer before a matrix
//! product. The forms here fuse the passes of an operation, run on all threads of the rayon pool, and are
//! deterministic to the bit: work is split by size alone, and every sum belongs to one task.

pub(crate) mod ahead;
pub(crate) mod fresh;
pub(crate) mod gemm;
pub(crate) mod matrix;
mod ops;
pub(crate) mod prefetch;
pub(crate) mod product;
pub(crate) mod rows;
pub(crate) mod simd;
pub(crate) mod stored;
pub(crate) mod team;
mod types;
