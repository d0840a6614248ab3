//! A whole run: from an experiment and its text to a trained model in a folder.
//!
//! Above [`config`](crate::config) and [`training`](crate::training), which know nothing of each other's use here: a
//! [`Draft`] reads the text that an [`Experiment`](crate::config::Experiment) names, a [`Job`] has a folder and trains,
//! [`strategy`] is its loop of optimizer steps, evaluations and checkpoints, [`evaluation`] measures a model on text that
//! it was not trained on (during training and for every command), [`state`] is what a checkpoint holds, and a
//! [`Resumption`] goes on from one.

pub mod baseline;
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

pub use draft::{Draft, TokenizedTexts};
pub use error::RunError;
pub use evaluation::{Evaluation, Passes, evaluate};
pub use feed::{TrainFeed, ValidFeed};
pub use job::{Given, Job};
pub use metrics::StepMetric;
pub use resumption::{Change, Resumption};
pub use scores::{DomainSums, Scores};
pub use screen::Screen;
pub use stop::{Ending, Stop};
pub use texts::Validation;
pub use trained::{EvaluationModel, Trained};
pub use uncounted::Uncounted;
