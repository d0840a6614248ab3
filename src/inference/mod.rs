//! Token ids to token ids. Knows no text and no files.
//!
//! [`Generation`] prefills a prompt and decodes token by token with the latent cache; [`Sampler`] turns logits
//! into a choice.

mod generation;
mod sampling;

pub use generation::{Generation, GenerationError, Limits};
pub use sampling::{Sampler, SamplingConfig, SamplingError};
