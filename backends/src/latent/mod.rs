//! The two products of absorbed multi-head latent attention, which fold the up-projection of the latent into queries
//! and output (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, section 2.1.2).

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
