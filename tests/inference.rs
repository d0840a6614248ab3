//! Reading and generating: what a model gives does not depend on what is beside it, on pieces, drafts or blocks.

mod support;

#[path = "inference/causality.rs"]
mod causality;
#[path = "inference/engine.rs"]
mod engine;
#[path = "inference/quantized.rs"]
mod quantized;
#[path = "inference/scores.rs"]
mod scores;
#[path = "inference/speculative.rs"]
mod speculative;
