//! Changes to a trained model: pruning of experts, null experts added to its routers ([`retrofit`]), and dense models
//! turned into ones with experts ([`carve`], [`upcycle`]).

mod activity;
pub mod calibration;
pub mod carve;
mod cholesky;
mod criterion;
mod kept;
mod measured;
mod place;
mod pruned;
mod receipt;
pub mod recovery;
mod residual_stream;
pub mod retrofit;
pub mod sparse;
#[cfg(test)]
mod tests;
pub mod upcycle;

pub use activity::{Activities, Activity, observe};
pub use criterion::Criterion;
pub use kept::{Kept, KeptError};
pub use measured::Measured;
pub use place::Place;
pub use pruned::Pruned;
pub use receipt::Receipt;
