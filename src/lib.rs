//! Darkhorse Genesis: train, convert, study and run Mixture-of-Experts language models on burn.
//!
//! The way of a document, in order: [`config`] says what a run is, [`data`] reads text with its
//! [`domain`]s and packs it, [`tokenizer`] turns it into ids, [`model`] ids into logits, [`training`] logits
//! into gradients and a better model, [`checkpoint`] keeps it, [`telemetry`] tells what it cost, [`run`] puts
//! these together, [`inference`] continues a prompt, [`study`] tells what its routers do with a text, and [`interop`] reads and writes the formats of others. `cli` is the
//! program over all of it, on the backend that is [`selected`].
//!
//! Every component is generic over burn's `Backend`, with [`darkhorse_backends::Ops`] for the few
//! operations that burn lacks.

pub mod checkpoint;
#[cfg(any(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "tch"
))]
pub mod cli;
pub mod config;
pub mod data;
pub mod domain;
mod guard;
pub mod inference;
pub mod interop;
mod mapped;
pub mod model;
pub mod run;
#[cfg(any(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "tch"
))]
pub mod selected;
pub mod stored;
pub mod study;
pub mod surgery;
pub mod telemetry;
pub mod tokenizer;
pub mod training;

pub use burn;
pub use darkhorse_backends as backends;
pub use stored::Model;
