//! One pass over all documents of a corpus, for evaluation.
//!
//! A document that fits into a row is never cut, so that predictions on it do not depend on the documents beside it.
//! A longer one gets rows of its own: the first holds its first `seq_len` tokens, each further one begins with the
//! last token of the row before. The rest of a row is filled with later documents that fit, else with padding.

use std::collections::VecDeque;
use std::sync::Arc;

use super::corpus::Corpus;
use super::error::DataError;
use super::packing::{PackedBatch, Packer, Sequence, Tags};
use super::shuffle::Permutation;
use super::stream::check_shape;

/// Iterator over the batches of one pass.
#[derive(Debug)]
pub struct Pass {
    corpus: Arc<Corpus>,
    rows: usize,
    seq_len: usize,
    tags: Tags,
    /// Order of the documents; absent: that of the corpus.
    order: Option<Permutation>,
    /// Position of the next document in the order.
    document: usize,
    /// Parts of the last document that did not fit into the batch.
    waiting: VecDeque<Part>,
}

/// The part of a document that fits into a row.
#[derive(Debug, Clone)]
struct Part {
    sequence: Arc<Sequence>,
    offset: usize,
    len: usize,
    /// Whether it must start a row of its own.
    is_of_long: bool,
}

/// Parts of documents that share a row.
#[derive(Debug, Clone, Default)]
struct Row {
    parts: Vec<Part>,
    tokens: usize,
}

impl Pass {
    /// A pass in batches of `rows` rows of `seq_len` tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::Setting`] if `rows` is 0 or `seq_len` is below 2.
    pub fn new(
        corpus: Arc<Corpus>,
        rows: usize,
        seq_len: usize,
        tags: Tags,
    ) -> Result<Self, DataError> {
        check_shape(rows, seq_len)?;
        Ok(Self {
            corpus,
            rows,
            seq_len,
            tags,
            order: None,
            document: 0,
            waiting: VecDeque::new(),
        })
    }

    /// Puts the documents in a random order, so that a pass that stops early is a sample of all documents.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.order = Some(Permutation::new(self.corpus.len() as u64, seed, 0, 0));
        self
    }

    fn pack(&mut self) -> Result<Option<PackedBatch>, DataError> {
        let mut rows = vec![Row::default(); self.rows];
        while let Some(part) = self.next_part()? {
            let fits = |row: &&mut Row| {
                if part.is_of_long {
                    row.tokens == 0
                } else {
                    row.tokens + part.len <= self.seq_len
                }
            };
            let Some(row) = rows.iter_mut().find(fits) else {
                self.waiting.push_front(part);
                break;
            };
            row.tokens += part.len;
            row.parts.push(part);
        }
        if rows[0].tokens == 0 {
            return Ok(None);
        }
        // rows with more tokens come first, so that padding chooses last where rows choose experts together
        rows.sort_by_key(|row| std::cmp::Reverse(row.tokens));
        let mut packer = Packer::new(self.rows, self.seq_len);
        for row in rows {
            for part in row.parts {
                packer.push(&part.sequence, part.offset);
            }
            packer.end_row();
        }
        Ok(Some(packer.finish()))
    }

    /// The next part of a document; `None` after the last one.
    fn next_part(&mut self) -> Result<Option<Part>, DataError> {
        while self.waiting.is_empty() && self.document < self.corpus.len() {
            let document = match &self.order {
                Some(order) => order.at(self.document as u64) as usize,
                None => self.document,
            };
            let sequence = Arc::new(Sequence::load(&self.corpus, document, self.tags)?);
            self.document += 1;
            self.waiting = parts(&sequence, self.seq_len);
        }
        Ok(self.waiting.pop_front())
    }
}

/// The whole document if it fits into a row, else its windows of `seq_len` tokens.
fn parts(sequence: &Arc<Sequence>, seq_len: usize) -> VecDeque<Part> {
    let is_of_long = sequence.len() > seq_len;
    let part = |offset| Part {
        sequence: sequence.clone(),
        offset,
        len: (sequence.len() - offset).min(seq_len),
        is_of_long,
    };
    // the first token of a window is predicted in the previous window
    let ends_before = match sequence.len() {
        tokens @ (0 | 1) => tokens,
        tokens => tokens - 1,
    };
    (0..ends_before).step_by(seq_len - 1).map(part).collect()
}

impl Iterator for Pass {
    type Item = Result<PackedBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.pack().transpose();
        if matches!(batch, Some(Err(_))) {
            // an error ends the pass
            self.document = self.corpus.len();
            self.waiting.clear();
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::super::packing::PADDING;
    use super::super::testing::mixed_corpus;
    use super::*;

    #[test]
    fn every_token_but_the_first_of_each_document_is_predicted_once() {
        let corpus = mixed_corpus(23, 50);
        let total = corpus.total();
        for (rows, seq_len) in [(1, 2), (2, 7), (3, 64), (1, 5000)] {
            let mut predicted = (0, 0);
            let pass = Pass::new(corpus.clone(), rows, seq_len, Tags::Given).unwrap();
            for batch in pass {
                let batch = batch.unwrap();
                assert_eq!(batch.ids.len(), rows * seq_len);
                predicted.0 += batch.counted_tokens() as u64;
                predicted.1 += batch.counted_bytes();
            }
            // a document of n tokens has n predictions, plus one of its end
            assert_eq!(predicted, (total.tokens + total.documents, total.bytes));
        }
    }

    #[test]
    fn a_shuffled_pass_has_every_document_once() {
        let corpus = mixed_corpus(23, 50);
        let documents = |pass: Pass| -> Vec<usize> {
            let rows = pass.flat_map(|batch| batch.unwrap().documents.concat());
            let mut documents: Vec<_> = rows.collect();
            let mut seen = std::collections::BTreeSet::new();
            documents.retain(|document| seen.insert(*document));
            documents
        };
        let pass = || Pass::new(corpus.clone(), 2, 40, Tags::Dropped).unwrap();
        let mut shuffled = documents(pass().shuffled(3));
        assert_ne!(shuffled, documents(pass()));
        assert_eq!(shuffled, documents(pass().shuffled(3)));
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..corpus.len()).collect::<Vec<_>>());
    }

    /// Every segment of a pass: its document and its ids.
    fn segments(pass: Pass) -> Vec<(usize, Vec<i32>)> {
        let mut found = Vec::new();
        for batch in pass {
            let batch = batch.unwrap();
            let rows = batch.segments.chunks(batch.seq_len);
            let rows = rows.zip(batch.ids.chunks(batch.seq_len));
            for ((segments, ids), documents) in rows.zip(&batch.documents) {
                for (number, &document) in documents.iter().enumerate() {
                    let places = segments.iter().zip(ids);
                    let own = places.filter(|(segment, _)| **segment == number as i32);
                    found.push((document, own.map(|(_, &id)| id).collect()));
                }
            }
        }
        found
    }

    #[test]
    fn what_fits_into_a_row_is_whole_and_what_does_not_is_cut_at_the_same_places_whatever_is_beside_it()
     {
        let corpus = mixed_corpus(23, 50);
        let whole = |number| {
            let sequence = Sequence::load(&corpus, number, Tags::Given).unwrap();
            sequence.len()
        };
        for (rows, seq_len) in [(1, 5), (3, 20), (8, 32), (2, 64)] {
            let pass = || Pass::new(corpus.clone(), rows, seq_len, Tags::Given).unwrap();
            let mut found = segments(pass());
            let mut shuffled = segments(pass().shuffled(5));
            for (document, ids) in &found {
                assert!(ids.len() == seq_len.min(whole(*document)) || whole(*document) > seq_len);
            }
            let documents: Vec<_> = found.iter().map(|(document, _)| *document).collect();
            for number in 0..corpus.len() {
                let parts = documents.iter().filter(|&&it| it == number).count();
                assert_eq!(parts, (whole(number) - 1).div_ceil(seq_len - 1), "{number}");
            }
            found.sort();
            shuffled.sort();
            assert_eq!(found, shuffled);
        }
    }

    #[test]
    fn rows_are_filled_with_what_fits_and_padding_stands_behind_the_tokens_and_below_them() {
        let corpus = mixed_corpus(60, 50);
        let batches = Pass::new(corpus, 8, 64, Tags::Dropped).unwrap();
        let batches: Vec<_> = batches.map(Result::unwrap).collect();
        // the last batch holds the rest
        for batch in &batches[..batches.len() - 1] {
            assert!(
                batch.tokens() * 10 > batch.ids.len() * 8,
                "{}",
                batch.tokens()
            );
        }
        for batch in batches {
            let rows = batch.segments.chunks(64);
            let filled = rows.map(|row| row.iter().filter(|it| **it != PADDING).count());
            let filled: Vec<_> = filled.collect();
            assert!(filled.is_sorted_by(|a, b| a >= b), "{filled:?}");
            for (row, filled) in batch.segments.chunks(64).zip(filled) {
                assert!(row[filled..].iter().all(|&segment| segment == PADDING));
            }
        }
    }

    #[test]
    fn rows_of_one_token_are_refused() {
        let error = Pass::new(mixed_corpus(1, 9), 1, 1, Tags::Given).unwrap_err();
        assert_eq!(error.to_string(), "`seq_len` is 1, expected at least 2");
    }
}
