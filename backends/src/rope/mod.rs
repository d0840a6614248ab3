//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>), interleaved pairs; [`halves`]
//! as pairs.

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod halves;
#[cfg(feature = "flex")]
pub(crate) mod halves_flex;
pub mod reference;
