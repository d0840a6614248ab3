//! The language model: from token ids to logits. It reads no files and no text, and runs no loop.
//!
//! [`CausalLm`] embeds ids, runs decoder layers ([`Block`]s of a [`mixer`] and a [`feed_forward`]), and projects the
//! residual stream to logits; [`mtp`] predicts tokens further ahead.

mod block;
pub mod cache;
mod causal_lm;
mod config;
mod context;
pub mod cost;
pub mod count;
pub mod dtype;
mod error;
pub mod feed_forward;
mod finite;
pub mod init;
pub mod linear;
pub mod lora;
mod matrices;
pub mod matrix;
pub mod mixer;
pub mod mtp;
pub mod mup;
pub mod norm;
pub mod rope;
mod routed;
pub mod routing;
mod saturating;
mod sequences;
pub mod ttt;
pub mod weights;

pub use block::{Block, BlockOutput};
pub use causal_lm::{CausalLm, Ttt};
pub use config::{FeedForwardPlan, LayerPlan, ModelConfig};
pub use context::{Context, Phase};
pub use error::ModelConfigError;
pub(crate) use error::{MAX_LAYERS, MAX_SIZE};
pub use finite::{Cause, NotANumber, NotFinite, Part, are_finite, not_a_number};
pub use matrices::{MatrixMapper, Scope};
pub use routed::Routed;
pub use sequences::{Hidden, Sequences, Trace};
