//! Training steps on small models: accumulation of micro-batches, and balancing of experts.

mod support;

#[path = "training/accumulation.rs"]
mod accumulation;
#[path = "training/balance.rs"]
mod balance;
