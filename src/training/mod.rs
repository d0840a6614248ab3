//! Batches to a better model, step by step, as the model and the optimizer of burn-train's learner.
//!
//! [`Trainee`] is the learner's model: [`step`](Trainee) computes gradients of the [`loss`] and counts where
//! tokens were routed, `optimize` applies [`AdamW`] and then moves the balance bias, once per optimizer
//! step. It knows no files and no loop: a whole run is put together by [`run`](crate::run).

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
