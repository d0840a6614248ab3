//! Generation: from token ids to token ids. It reads no text and no files.
//!
//! A sequence (`sequence.rs`) is its ids and their cache. A pass (`pass.rs`) runs the model over the next ids of
//! several sequences at once, together with the tokens that drafters (`drafting.rs`) guessed. [`Generation`] extends
//! one sequence, [`Engine`] many that come and go; [`Sampler`] chooses a token from logits. [`likelihoods`] scores
//! tokens that are given.

mod constraint;
mod drafter;
mod drafting;
mod engine;
mod event;
mod generation;
mod head;
mod likelihood;
mod limits;
mod listener;
mod memory;
mod noise;
mod pace;
mod pass;
mod prefix;
mod report;
mod routes;
mod sampling;
mod scores;
mod sequence;
mod share;
mod speculation;
mod traffic;
mod turn;

pub use constraint::{Constraint, ConstraintError, Progress};
pub use engine::{Engine, EngineConfig};
pub use event::{Event, Finish, Request, RequestId};
pub use generation::Generation;
pub use likelihood::{Continuation, Likelihood, likelihoods};
pub use limits::{GenerationError, Limits, PREFILL_CHUNK};
pub use memory::CacheMemory;
pub use report::{RequestRoutes, routed_layers};
pub use routes::{LayerLog, Recording, RouteCounts, RouteLog};
pub use sampling::{Candidate, Sampler, SamplingConfig, SamplingError};
pub use scores::{Scoring, TokenScore};
pub use share::{Phase, Share};
pub use speculation::{Acceptance, Speculation, When};
pub use traffic::{Traffic, TrafficLayer};
