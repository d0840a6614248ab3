//! Training steps on small models: accumulation of micro-batches, balancing of experts, and steps in bf16.

mod support;

#[path = "training/accumulation.rs"]
mod accumulation;
#[path = "training/balance.rs"]
mod balance;
#[path = "training/precision.rs"]
mod precision;
