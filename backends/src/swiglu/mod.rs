//! The gated activation of SwiGLU (Shazeer, <https://arxiv.org/abs/2002.05202>).

pub mod backward;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub mod reference;
