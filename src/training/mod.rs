//! Training steps: the model and the optimizer of burn-train's learner.
//!
//! [`Trainee`] is the learner's model. [`step`](Trainee) computes gradients of the [`loss`] and counts where tokens
//! were routed; `optimize` applies [`AdamW`] and then updates the balance bias, once per optimizer step. This module
//! reads no files and runs no loop: [`run`](crate::run) assembles a whole run.

pub mod batch;
pub mod config;
pub mod groups;
pub mod ledger;
pub mod loss;
pub mod mitosis;
pub mod optimizer;
mod out_of_range;
pub mod precision;
pub mod schedule;
mod trainee;
mod validate;
pub mod window;

pub use config::TrainingConfig;
pub use mitosis::{Mitosis, MitosisConfig};
pub use optimizer::AdamW;
pub use out_of_range::OutOfRange;
pub use precision::Precision;
pub use schedule::Schedule;
pub use trainee::{
    StepLosses, StepReport, TrainableMixer, TrainableRouter, Trainee, TrainingBackend,
};
