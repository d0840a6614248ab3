//! Training steps on small models: what they add up to, and how they balance the experts.

mod support;

#[path = "training/accumulation.rs"]
mod accumulation;
#[path = "training/balance.rs"]
mod balance;
