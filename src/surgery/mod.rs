//! Changes to a trained model that need no training.

mod activity;
mod criterion;
mod kept;
mod place;
mod pruned;
mod receipt;
#[cfg(test)]
mod tests;

pub use activity::{Activities, Activity, observe};
pub use criterion::Criterion;
pub use kept::{Kept, KeptError};
pub use place::Place;
pub use pruned::Pruned;
pub use receipt::{Measured, Receipt};
