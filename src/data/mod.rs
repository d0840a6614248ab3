//! Text to batches.
mod packing;
pub use packing::{PackedBatch, UNTAGGED};
