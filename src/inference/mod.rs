//! Token ids to token ids. Knows no text and no files.
//!
//! A sequence (`sequence.rs`) is its ids and their cache; a pass (`pass.rs`) reads the next ids of several
//! of them at once, with what the drafters (`drafting.rs`) guessed. [`Generation`] grows one sequence, [`Engine`]
//! many that come and go; [`Sampler`] turns logits into a choice.

mod drafter;
mod drafting;
mod engine;
mod generation;
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
pub use limits::{GenerationError, Limits, PREFILL_CHUNK};
pub use routes::{LayerLog, Recording, RouteCounts, RouteLog};
pub use sampling::{Candidate, Sampler, SamplingConfig, SamplingError};
pub use speculation::{Acceptance, Speculation, When};
