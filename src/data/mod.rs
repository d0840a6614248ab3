//! Files of documents -> batches for training and evaluation.
//!
//! [`Source`] reads documents with their domains, [`Corpus`] holds their tokens on disk, [`Stream`]
//! gives an endless shuffled mix of them in packed rows, [`Pass`] all of them once. Memory is bounded
//! whatever the size of the data. Knows the tokenizer, but neither model nor loss.

mod blocks;
mod cache;
mod corpus;
mod documents;
mod embedded;
mod error;
mod lines;
mod mix;
mod packing;
mod pass;
mod position;
mod reader;
mod rows;
mod shards;
mod shuffle;
mod source;
mod split;
mod stream;
mod sweep;
#[cfg(test)]
mod testing;
mod zstd;

pub use cache::Progress;
pub use corpus::{Corpus, DocumentTokens};
pub use documents::{Document, Documents, Origin, Skipped};
pub use embedded::EmbeddedCorpus;
pub use error::DataError;
pub use mix::Mix;
pub use packing::{PADDING, PackedBatch, Tags, UNTAGGED};
pub use pass::Pass;
pub use position::Position;
pub use shards::Totals;
pub use source::{Source, SourceOptions};
pub use stream::{Share, Stream, StreamConfig};
pub use sweep::sweep;
