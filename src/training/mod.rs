//! Batches to a trained model, on burn-train's learner.
//!
//! [`Trainee`] is the learner's model: [`step`](Trainee) computes gradients of the [`loss`] and counts where
//! tokens were routed, `optimize` applies [`AdamW`] and then moves the balance bias, once per optimizer
//! step. [`strategy`] is the loop around it, [`job`] puts a whole run together.

pub mod baseline;
pub mod batch;
pub mod config;
pub mod dashboard;
mod draft;
pub mod error;
pub mod evaluate;
pub mod feed;
pub mod groups;
mod held_out;
pub mod job;
pub mod ledger;
pub mod loss;
pub mod metrics;
pub mod mitosis;
pub mod optimizer;
pub mod precision;
pub mod resumption;
mod samples;
pub mod schedule;
pub mod screen;
pub mod state;
pub mod stop;
pub mod strategy;
mod summary;
mod texts;
mod trained;
mod trainee;
mod uncounted;
pub mod window;

pub use config::TrainingConfig;
pub use draft::{Draft, TokenizedTexts};
pub use mitosis::{Mitosis, MitosisConfig};
pub use optimizer::AdamW;
pub use precision::Precision;
pub use schedule::Schedule;
pub use texts::Validation;
pub use trainee::{
    StepLosses, StepReport, TrainableMixer, TrainableRouter, Trainee, TrainingBackend,
};
pub use uncounted::Uncounted;
