//! What a model's routers do with a text: where tokens go, whether that has to do with meaning, and how local it is.
//!
//! [`observe`](fn@observe) reads a text once, teacher-forced, and records every choice; [`summarize`] makes figures of the record, each
//! defined in a file of its own: [`cohesion`], [`chance`], [`overlap`], [`information`], [`labels`], [`top_tokens`], [`locality`] and, to be compared
//! with a publication, [`legacy`]. The figures know neither tensors nor files.

pub mod chance;
pub mod cohesion;
pub mod information;
pub mod labels;
pub mod legacy;
pub mod locality;
mod observe;
pub mod overlap;
mod sample;
mod stability;
mod summary;
#[cfg(test)]
mod testing;
pub mod top_tokens;
mod trace;

pub use observe::{LayerObservation, Observation, Plan, ReadDocument, StudyError, observe};
pub use summary::{About, summarize};
pub use trace::{LayerTrace, Trace, traces};
