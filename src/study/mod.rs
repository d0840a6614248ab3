//! Analysis of a model's routing on a text: where tokens go, whether that depends on meaning, and how local it is.
//!
//! [`observe`](fn@observe) reads a text once, teacher-forced, and records every choice. [`summarize`] computes
//! figures from the record, each defined in its own file: [`cohesion`], [`chance`], [`overlap`], [`information`],
//! [`labels`], [`top_tokens`], [`locality`] and, for comparison with a publication, [`legacy`]. The figures depend on
//! neither tensors nor files.

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
