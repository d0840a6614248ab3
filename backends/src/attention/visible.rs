//! Ranges of keys that a query sees.

use burn_flex::Flex;

use super::AttentionMask;
use crate::flex::rows::indices;

/// First key that every query of every sequence sees; the last one is the query's own position.
#[derive(Debug)]
pub(super) struct Visible {
    seq: usize,
    /// Maximum number of keys that a query sees, its own included.
    window: usize,
    /// First position of every query's document, `[batch, seq]`; empty for a single document.
    document_start: Vec<usize>,
    /// Document numbers, `[batch, seq]`; empty if every document is contiguous.
    documents: Vec<usize>,
}

impl Visible {
    pub(super) fn new(mask: &AttentionMask<Flex>, window: Option<usize>, seq: usize) -> Self {
        let window = window.unwrap_or(usize::MAX);
        let AttentionMask::Documents(documents) = mask else {
            return Self {
                seq,
                window,
                document_start: Vec::new(),
                documents: Vec::new(),
            };
        };
        let mut numbers = indices(documents.clone());
        let mut document_start = Vec::with_capacity(numbers.len());
        let mut in_one_piece = true;
        for sequence in numbers.chunks_exact(seq.max(1)) {
            let mut starts = std::collections::HashMap::new();
            for (position, document) in sequence.iter().enumerate() {
                let start = *starts.entry(document).or_insert(position);
                document_start.push(start);
                in_one_piece &= position == start || sequence[position - 1] == *document;
            }
        }
        if in_one_piece {
            numbers.clear();
        }
        Self {
            seq,
            window,
            document_start,
            documents: numbers,
        }
    }

    /// The first key that a query sees.
    pub(super) fn first(&self, item: usize, query: usize) -> usize {
        let start = self.document_start.get(item * self.seq + query);
        let in_reach = (query + 1).saturating_sub(self.window);
        start.copied().unwrap_or(0).max(in_reach)
    }

    /// Maximum number of keys that a query sees.
    pub(super) fn most(&self) -> usize {
        self.window.min(self.seq)
    }

    /// Sets the scores of a query with keys of other documents to minus infinity; `scores` begin at key `from`.
    pub(super) fn hide(&self, item: usize, query: usize, from: usize, scores: &mut [f32]) {
        if self.documents.is_empty() {
            return;
        }
        let documents = &self.documents[item * self.seq..][..self.seq];
        for (score, document) in scores.iter_mut().zip(&documents[from..]) {
            if *document != documents[query] {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
