//! Data: from files of documents to batches for training and evaluation.
//!
//! [`Source`] reads documents with their domains, and [`Corpus`] keeps their tokens on disk. [`Stream`] returns an
//! endless shuffled mix of them in packed rows, [`Pass`] returns all of them once. Memory does not grow with the
//! data. This module knows the tokenizer, but neither model nor loss.

mod blocks;
mod cache;
mod conversation;
mod corpus;
mod documents;
mod elements;
mod embedded;
mod error;
mod input;
mod json;
mod left_out;
mod lines;
mod mix;
mod packing;
mod pass;
mod place;
mod position;
mod reader;
mod record;
mod rows;
mod shards;
mod shuffle;
mod source;
mod split;
mod stream;
mod sweep;
#[cfg(test)]
mod testing;
mod text_file;

pub use cache::Progress;
pub use conversation::TurnsError;
pub use corpus::{Corpus, DocumentTokens};
pub use documents::{Document, Documents, Origin, Skipped};
pub use embedded::EmbeddedCorpus;
pub use error::DataError;
pub use left_out::LeftOut;
pub use mix::Mix;
pub use packing::{PADDING, PackedBatch, Tags};
pub use pass::Pass;
pub use place::Place;
pub use position::Position;
pub use shards::Totals;
pub use source::{Source, SourceOptions};
pub use stream::{Share, Stream, StreamConfig};
pub use sweep::sweep;
