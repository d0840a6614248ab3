//! GGUF, the file format of llama.cpp: one file with metadata, tokenizer and tensors.
//!
//! It is a second spelling of Hugging Face's families: what a [`Family`](super::Family) says of itself
//! in [`Gguf`](super::Gguf), and the tables of keys (`places`) and names (`names`) that all share. [`write()`]
//! makes a file with the keys, names, types and bytes of llama.cpp's own converter, [`GgufCheckpoint`] reads one
//! back under Hugging Face's names. [`GgufFile`] and [`GgufWriter`] are the container alone. Nothing here knows a
//! backend or computes with a model.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, little-endian. Written is version 3.

mod blocks;
mod checkpoint;
mod config;
mod convert;
mod cursor;
mod gather;
mod keys;
mod llama3;
mod metadata;
mod names;
mod places;
mod plan;
mod pre_tokenizer;
mod reader;
mod restore;
mod sentence_piece;
mod size_label;
mod special_tokens;
mod split;
mod stored_types;
#[cfg(test)]
mod tests;
mod tokenizer;
mod tokenizer_json;
mod value;
mod writer;

pub use blocks::{GgmlType, OutType};
pub use checkpoint::GgufCheckpoint;
pub use convert::{GgufOptions, GgufProgress, HfModel, write};
pub(super) use keys::Keys;
pub use reader::GgufFile;
pub use stored_types::StoredTypes;
pub use tokenizer::TokenizerFiles;
pub use value::{GgufArray, GgufValue};
pub use writer::{GgufTensor, GgufWriter};

/// The first bytes of a file.
const MAGIC: [u8; 4] = *b"GGUF";

/// The version of the format that is written.
const VERSION: u32 = 3;

/// The oldest version that is read: it differs from the third in name only. The first has shorter lengths.
const OLDEST_VERSION: u32 = 2;

/// Where a tensor may start, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;

/// Dimensions that ggml's tensors have at most.
const MAX_DIMENSIONS: usize = 4;

/// Bytes that ggml has for a tensor's name, the last of which is zero.
const MAX_NAME_BYTES: usize = 64;

/// Name of the tensor with the factors of llama3's rotary embedding.
const ROPE_FREQS: &str = "rope_freqs.weight";
