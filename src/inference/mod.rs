//! Generation: from token ids to token ids. It reads no text and no files.
//!
//! A sequence (`sequence.rs`) is its ids and their cache. A pass (`pass.rs`) runs the model over the next ids of
//! several sequences at once, together with the tokens that drafters (`drafting.rs`) guessed. [`Generation`] extends
//! one sequence, [`Engine`] many that come and go; [`Sampler`] chooses a token from logits. [`likelihoods`] scores
//! tokens that are given.

mod drafter;
mod drafting;
mod engine;
mod generation;
mod likelihood;
mod limits;
mod listener;
mod noise;
mod pace;
mod pass;
mod prefix;
mod routes;
mod sampling;
mod sequence;
mod speculation;
mod turn;

pub use engine::{Engine, EngineConfig, Event, Finish, Request, RequestId};
pub use generation::Generation;
pub use likelihood::{Continuation, Likelihood, likelihoods};
pub use limits::{GenerationError, Limits, PREFILL_CHUNK};
pub use routes::{LayerLog, Recording, RouteCounts, RouteLog};
pub use sampling::{Candidate, Sampler, SamplingConfig, SamplingError};
pub use speculation::{Acceptance, Speculation, When};
