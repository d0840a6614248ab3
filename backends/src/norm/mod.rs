//! Root-mean-square normalization (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>).

pub mod backward;
#[cfg(feature = "cubecl")]
pub(crate) mod cube;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
