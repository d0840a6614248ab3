//! The two products by which latent attention keeps its keys and values compressed: the up-projection
//! of the latent moves over to the queries and to the output (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>,
//! section 2.1.2).

#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
