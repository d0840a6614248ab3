//! Training runs: from an experiment and its text to a trained model in a folder.
//!
//! A [`Draft`] reads and tokenizes the text that an [`Experiment`](crate::config::Experiment) names. A [`Job`] has a
//! folder and trains: [`strategy`] is its loop of optimizer steps, evaluations and checkpoints, and [`state`] is the
//! content of a checkpoint. A [`Resumption`] continues from one. [`evaluation`] measures a model on held-out text,
//! for training and for every command that prints a loss.
//!
//! This module uses [`config`](crate::config) and [`training`](crate::training), which do not know it.

pub mod baseline;
mod change;
pub mod dashboard;
mod draft;
mod error;
pub mod evaluation;
pub mod feed;
mod job;
mod metrics;
pub mod resumption;
mod samples;
mod scores;
pub mod screen;
pub mod state;
mod stop;
pub mod strategy;
mod summary;
mod texts;
mod train;
mod trained;
mod uncounted;

pub use change::{Change, differences};
pub use draft::{Draft, Given, TokenizedTexts};
pub use error::RunError;
pub use evaluation::{Evaluation, Passes, evaluate};
pub use feed::{TrainFeed, ValidFeed};
pub use job::Job;
pub use metrics::StepMetric;
pub use resumption::Resumption;
pub use scores::{DomainSums, Scores};
pub use screen::Screen;
pub use stop::{Ending, Stop};
pub use summary::about;
pub use texts::Validation;
pub use trained::{EvaluationModel, Trained};
pub use uncounted::Uncounted;
