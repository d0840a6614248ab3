//! Changes to a trained model: pruning of experts, and null experts added to its routers ([`retrofit`]).

mod activity;
mod criterion;
mod kept;
mod measured;
mod place;
mod pruned;
mod receipt;
pub mod retrofit;
#[cfg(test)]
mod tests;

pub use activity::{Activities, Activity, observe};
pub use criterion::Criterion;
pub use kept::{Kept, KeptError};
pub use measured::Measured;
pub use place::Place;
pub use pruned::Pruned;
pub use receipt::Receipt;
