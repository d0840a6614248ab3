//! Batches to a trained model, on burn-train's learner.
//!
//! [`Trainee`] is the learner's model: [`step`](Trainee) computes gradients of the [`loss`] and counts where
//! tokens were routed, `optimize` applies [`AdamW`] and then moves the balance bias, once per optimizer
//! step. [`strategy`] is the loop around it, [`job`] puts a whole run together.

pub mod batch;
pub mod error;
pub mod feed;
pub mod job;
pub mod metrics;
pub mod screen;
pub mod state;
pub mod strategy;
pub mod window;
pub mod config;
pub mod evaluate;
pub mod ledger;
pub mod loss;
pub mod optimizer;
pub mod schedule;
mod trainee;

pub use config::TrainingConfig;
pub use optimizer::AdamW;
pub use schedule::Schedule;
pub use trainee::Trainee;
