//! Darkhorse Genesis: train, convert, study and run Mixture-of-Experts language models on burn.

pub mod data;
pub mod domain;
pub mod tokenizer;
