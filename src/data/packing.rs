//! Fixed rows.

/// No tag.
pub const UNTAGGED: u8 = 10;

/// Rows of packed documents.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PackedBatch {
    pub rows: usize,
    pub seq_len: usize,
    pub ids: Vec<i32>,
    pub segments: Vec<i32>,
    pub positions: Vec<i32>,
    pub tags: Vec<u8>,
    pub domains: Vec<u8>,
    pub counted: Vec<bool>,
    pub bytes: Vec<u16>,
    pub documents: Vec<u64>,
}
