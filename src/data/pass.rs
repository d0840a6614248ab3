//! All documents of a corpus once; for evaluation.

use std::sync::Arc;

use super::corpus::Corpus;
use super::error::DataError;
use super::packing::{PackedBatch, Packer, Sequence, Tags};
use super::shuffle::Permutation;
use super::stream::check_shape;

/// Iterator over the batches of one pass. The last batch is filled up with padding.
#[derive(Debug)]
pub struct Pass {
    corpus: Arc<Corpus>,
    rows: usize,
    seq_len: usize,
    tags: Tags,
    /// The order of the documents; absent: that of the corpus.
    order: Option<Permutation>,
    /// Place of the next document in the order, and where to go on in it.
    document: usize,
    open: Option<(Sequence, usize)>,
}

impl Pass {
    /// A pass in batches of `rows` rows of `seq_len` tokens.
    ///
    /// # Errors
    ///
    /// [`DataError::Setting`] for no rows, or rows of less than two tokens.
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
            open: None,
        })
    }

    /// The same documents in a random order, so that a pass which ends early has seen some of all kinds.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.order = Some(Permutation::new(self.corpus.len() as u64, seed, 0, 0));
        self
    }

    fn pack(&mut self) -> Result<Option<PackedBatch>, DataError> {
        let mut packer = Packer::new(self.rows, self.seq_len);
        while !packer.is_full() {
            let (sequence, offset) = match self.open.take() {
                Some(open) => open,
                None if self.document == self.corpus.len() => break,
                None => {
                    let document = match &self.order {
                        Some(order) => order.at(self.document as u64) as usize,
                        None => self.document,
                    };
                    let sequence = Sequence::load(&self.corpus, document, self.tags)?;
                    self.document += 1;
                    (sequence, 0)
                }
            };
            let rest = packer.push(&sequence, offset);
            self.open = rest.map(|offset| (sequence, offset));
        }
        let pad = self.corpus.special().pad;
        Ok((!packer.is_empty()).then(|| packer.finish(pad)))
    }
}

impl Iterator for Pass {
    type Item = Result<PackedBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.pack().transpose();
        if matches!(batch, Some(Err(_))) {
            // an error ends the pass
            self.document = self.corpus.len();
            self.open = None;
        }
        batch
    }
}

#[cfg(test)]
mod tests {
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
            // a document of n tokens has n predictions of them, and one of its end
            assert_eq!(predicted, (total.tokens + total.documents, total.bytes));
        }
    }

    #[test]
    fn a_shuffled_pass_has_every_document_once() {
        let corpus = mixed_corpus(23, 50);
        let documents = |pass: Pass| -> Vec<usize> {
            let rows = pass.flat_map(|batch| batch.unwrap().documents.concat());
            let mut documents: Vec<_> = rows.collect();
            documents.dedup();
            documents
        };
        let pass = || Pass::new(corpus.clone(), 2, 40, Tags::Dropped).unwrap();
        let mut shuffled = documents(pass().shuffled(3));
        assert_ne!(shuffled, documents(pass()));
        assert_eq!(shuffled, documents(pass().shuffled(3)));
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..corpus.len()).collect::<Vec<_>>());
    }

    #[test]
    fn documents_come_in_order_and_padding_only_at_the_end() {
        let corpus = mixed_corpus(9, 30);
        let batches: Vec<_> = Pass::new(corpus.clone(), 2, 40, Tags::Dropped)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut documents: Vec<_> = batches.iter().flat_map(|b| b.documents.concat()).collect();
        documents.dedup();
        assert!(documents.into_iter().eq(0..9));
        let segments: Vec<_> = batches.iter().flat_map(|b| b.segments.clone()).collect();
        let end = segments.iter().position(|&segment| segment < 0).unwrap();
        assert!(segments[end..].iter().all(|&segment| segment < 0));
        assert!(segments.len() - end < 80);
    }

    #[test]
    fn rows_of_one_token_are_refused() {
        let error = Pass::new(mixed_corpus(1, 9), 1, 1, Tags::Given).unwrap_err();
        assert_eq!(error.to_string(), "`seq_len` is 1, expected at least 2");
    }
}
