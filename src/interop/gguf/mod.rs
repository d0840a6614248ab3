//! GGUF, the file format of llama.cpp: metadata, tokenizer and tensors in one file.
//!
//! It is an alternative encoding of Hugging Face's families. It uses what a [`Family`](super::Family) states in
//! [`Gguf`](super::Gguf), and common tables of keys (`places`) and names (`names`). [`write()`] creates a file with
//! the keys, names, types and bytes of llama.cpp's own converter; [`GgufCheckpoint`] reads one under Hugging Face's
//! names. [`GgufFile`] and [`GgufWriter`] are the container format alone. This module knows no backend and computes
//! no model.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, little-endian. Version 3 is written.

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

/// Magic number at the start of a file.
const MAGIC: [u8; 4] = *b"GGUF";

/// Version that is written.
const VERSION: u32 = 3;

/// Oldest version that is read. It differs from version 3 in number only; version 1 has shorter lengths.
const OLDEST_VERSION: u32 = 2;

/// Alignment of tensors in bytes, unless `general.alignment` states another.
const ALIGNMENT: u64 = 32;

/// Largest number of dimensions of a ggml tensor.
const MAX_DIMENSIONS: usize = 4;

/// Size of ggml's buffer for a tensor's name, including a terminating zero.
const MAX_NAME_BYTES: usize = 64;

/// Name of the tensor with the factors of llama3's rotary scaling.
const ROPE_FREQS: &str = "rope_freqs.weight";
