//! Root-mean-square normalization (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>).

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
