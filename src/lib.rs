//! Darkhorse Genesis: train, convert, study and run Mixture-of-Experts language models on burn.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod domain;
pub mod inference;
pub mod model;
pub mod telemetry;
pub mod tokenizer;
pub mod training;
