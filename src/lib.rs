//! Darkhorse Genesis: train, convert, study and run Mixture-of-Experts language models on burn.
//!
//! # Where to begin
//!
//! - [`Model`] opens a model on disk (a run of this program, a Hugging Face folder, a GGUF file, ...) with its
//!   tokenizer and chat template: text in, text out.
//! - [`config::Experiment`] describes a training run: model, tokenizer, data, training. [`run::Job`] turns it into a
//!   trained model in a folder.
//! - [`model::CausalLm`] is the network: token ids in, logits out. It takes mixers and routers of your own.
//! - [`inference::Engine`] serves many sequences at once; [`inference::Generation`] continues one.
//!
//! # The way of a document
//!
//! 1. [`data`] reads documents with their [`domain`]s, mixes them and packs their tokens into rows.
//! 2. [`tokenizer`] turns text into token ids and back.
//! 3. [`model`] turns ids into logits.
//! 4. [`training`] turns logits into a loss, gradients and an updated model.
//! 5. [`checkpoint`] saves the run atomically and reads it back.
//! 6. [`telemetry`] records losses, speed and energy, and draws the report.
//!
//! [`run`] puts these steps together, as [`config`] describes them.
//!
//! # Once a model is trained
//!
//! - [`inference`] continues prompts.
//! - [`study`] shows where the routers send the tokens of a text.
//! - [`surgery`] removes experts, or adds null experts to a trained model.
//! - [`tasks`] asks a model questions with known answers, as lm-evaluation-harness does.
//! - [`interop`] reads and writes the formats of other programs.
//! - [`stored`] opens a model on disk, whatever wrote it.
//! - [`serving`] answers requests over HTTP, as OpenAI's interface does; [`dashboard`] shows training runs.
//!
//! `cli` is the command-line program over all of this, on the [`selected`] backend.
//!
//! Every component is generic over burn's `Backend` with [`darkhorse_backends::Ops`], which adds the few operations
//! that burn lacks.

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
pub mod dashboard;
pub mod data;
pub mod domain;
mod guard;
mod http;
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
pub mod serving;
pub mod stored;
pub mod study;
pub mod surgery;
pub mod tasks;
pub mod telemetry;
pub mod tokenizer;
pub mod training;

pub use burn;
pub use darkhorse_backends as backends;
pub use stored::Model;
