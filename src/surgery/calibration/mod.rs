//! The receipt of a conversion from a dense model to one with experts.

mod page;
mod receipt;
mod speed;
mod task_table;
mod tasks;

pub use receipt::{Carving, Mode, Parameters, Receipt, Recovery, Refit};
pub use speed::Speed;
pub use tasks::{Kept, MetricRecord, Outcome, Score, TaskRecord, TaskScores};
