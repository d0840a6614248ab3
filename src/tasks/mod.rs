//! Tasks: questions with known answers, as lm-evaluation-harness asks and scores them.
//!
//! A [`Task`] is a file of that program's YAML subset with its data on disk, or a built-in one. Its documents become
//! prompts ([`Task`] keeps the templates, `fewshot.rs` draws the examples), prompts become ids (`encode.rs`), the
//! model scores or continues them, and metrics compare that with the answers. Prompts, ids, metrics and standard
//! errors equal those of lm-evaluation-harness 0.4.13 with its `hf` model. This module knows no commands.

pub mod builtin;
mod config;
mod dataset;
mod encode;
mod error;
mod evaluate;
mod fewshot;
mod filter;
mod generate;
mod literal;
mod metric;
mod pattern;
mod prompt;
mod random;
mod records;
mod results;
mod subject;
mod task;
mod template;
#[cfg(test)]
mod tests;
mod yaml;

pub use config::OutputType;
pub use error::TaskError;
pub use evaluate::{Evaluated, evaluate, evaluate_task};
pub use results::{MetricScore, ScoreTable, TaskScore, lm_eval_layout};
pub use subject::Subject;
pub use task::{Task, TaskOptions};
