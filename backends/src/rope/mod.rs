//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>), on interleaved pairs or on [`halves`].

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod halves;
#[cfg(feature = "flex")]
pub(crate) mod halves_flex;
pub mod reference;
