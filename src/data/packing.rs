//! Packs documents into rows of fixed length and keeps track of their boundaries.
//!
//! A document that is cut continues in another row as a new segment, which begins with the last token of the cut one,
//! so that every token of a document except its first is predicted exactly once. The caller decides where documents
//! are cut: [`Stream`](super::Stream) fills rows completely, [`Pass`](super::Pass) keeps documents whole if they fit
//! into a row.

use super::corpus::Corpus;
use super::error::DataError;
use crate::domain::UNTAGGED;

/// Value of [`PackedBatch::segments`] where there is no document.
pub const PADDING: i32 = -1;

/// Rows of packed documents. All vectors except `documents` have shape `[rows, seq_len]`, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBatch {
    /// Number of rows.
    pub rows: usize,
    /// Number of tokens per row.
    pub seq_len: usize,
    /// Token ids. The label of a position at prediction depth `k` is the id `k + 1` positions later, if that belongs
    /// to the same segment.
    pub ids: Vec<i32>,
    /// Number of the segment within its row, from 0; [`PADDING`] after the last one. Attention and state never cross
    /// segments.
    pub segments: Vec<i32>,
    /// Position within the segment, from 0.
    pub positions: Vec<i32>,
    /// Domain that the router is told, as a [`Domain::index`](crate::domain::Domain::index), or [`UNTAGGED`].
    pub tags: Vec<u8>,
    /// Domain of the document, whether or not the router is told, as a
    /// [`Domain::index`](crate::domain::Domain::index), or [`UNTAGGED`]; for evaluation.
    pub domains: Vec<u8>,
    /// Whether the loss counts the prediction made *at* this position: the next position belongs to the same segment
    /// and, in a conversation, to an assistant's turn.
    pub counted: Vec<bool>,
    /// UTF-8 bytes of the token at this position; 0 for special tokens. The bytes predicted at a counted position are
    /// those of the next position.
    pub bytes: Vec<u16>,
    /// For every row, the corpus's document number of each segment.
    pub documents: Vec<Vec<usize>>,
}

impl PackedBatch {
    /// Number of tokens, padding excluded.
    pub fn tokens(&self) -> usize {
        let is_token = |&&segment: &&i32| segment != PADDING;
        self.segments.iter().filter(is_token).count()
    }

    /// Number of predictions that the loss counts.
    pub fn counted_tokens(&self) -> usize {
        self.counted.iter().filter(|&&counted| counted).count()
    }

    /// UTF-8 bytes of the counted predictions.
    pub fn counted_bytes(&self) -> u64 {
        let next = self.bytes.iter().skip(1);
        let counted = self
            .counted
            .iter()
            .zip(next)
            .filter(|&(&counted, _)| counted);
        counted.map(|(_, &bytes)| u64::from(bytes)).sum()
    }
}

/// Whether the model is told the domain of a tagged document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// The router is told.
    Given,
    /// The router is told, and a control token precedes the text if the tokenizer has one.
    GivenWithToken,
    /// The model is not told.
    Dropped,
}

/// A document with its special tokens, ready to be packed.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    document: usize,
    ids: Vec<u32>,
    bytes: Vec<u16>,
    /// Whether each token is learned; absent: all are.
    learned: Option<Vec<bool>>,
    tag: u8,
    domain: u8,
    /// Domain of the document's tag, or [`UNTAGGED`].
    stated: u8,
}

impl Sequence {
    /// Loads a document with the tokenizer's tokens around it: prefix, `[<|domain:x|>]`, text, suffix. With this
    /// crate's own tokenizers that is `<|bos|> [<|domain:x|>] text <|eos|>`. A conversation rendered by a published
    /// template gets no tokens around it.
    pub(super) fn load(corpus: &Corpus, document: usize, tags: Tags) -> Result<Self, DataError> {
        let text = corpus.document(document)?;
        let special = corpus.special();
        let domain = text.domain.index();
        let tags = if text.tagged { tags } else { Tags::Dropped };
        let control = match tags {
            Tags::GivenWithToken => special.domains[domain],
            Tags::Given | Tags::Dropped => None,
        };

        let (before, after) = if text.stands_alone {
            (&[][..], &[][..])
        } else {
            (special.before.as_slice(), special.after.as_slice())
        };
        let control = control.filter(|_| !text.stands_alone);
        let mut ids: Vec<u32> = before.iter().copied().chain(control).collect();
        let begin = ids.len();
        let mut bytes = vec![0; ids.len()];
        let more = text.tokens.len() + after.len();
        ids.reserve_exact(more);
        bytes.reserve_exact(more);
        ids.extend(text.tokens);
        bytes.extend(text.token_bytes);
        ids.extend_from_slice(after);
        bytes.resize(ids.len(), 0);
        let learned = text.learned.map(|own| {
            let mut learned = vec![false; begin];
            learned.extend(own);
            learned.resize(ids.len(), false);
            learned
        });
        Ok(Self {
            document,
            ids,
            bytes,
            learned,
            tag: if tags == Tags::Dropped {
                UNTAGGED
            } else {
                domain as u8
            },
            domain: domain as u8,
            stated: if text.tagged { domain as u8 } else { UNTAGGED },
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Domain of the document as a [`Domain::index`](crate::domain::Domain::index); an untagged one counts as
    /// general.
    pub(super) fn domain(&self) -> usize {
        self.domain.into()
    }
}

/// Builds a batch.
#[derive(Debug)]
pub(super) struct Packer {
    batch: PackedBatch,
}

impl Packer {
    pub(super) fn new(rows: usize, seq_len: usize) -> Self {
        let size = rows * seq_len;
        Self {
            batch: PackedBatch {
                rows,
                seq_len,
                ids: Vec::with_capacity(size),
                segments: Vec::with_capacity(size),
                positions: Vec::with_capacity(size),
                tags: Vec::with_capacity(size),
                domains: Vec::with_capacity(size),
                counted: Vec::with_capacity(size),
                bytes: Vec::with_capacity(size),
                documents: vec![Vec::new(); rows],
            },
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.ids.len() == self.batch.rows * self.batch.seq_len
    }

    /// Writes `sequence` from `offset` on into the current row; the batch must not be full. Returns the offset at
    /// which the next row continues, or `None` if the sequence is done.
    pub(super) fn push(&mut self, sequence: &Sequence, offset: usize) -> Option<usize> {
        let batch = &mut self.batch;
        let filled = batch.ids.len();
        let (row, column) = (filled / batch.seq_len, filled % batch.seq_len);
        let count = (sequence.len() - offset).min(batch.seq_len - column);
        if count == 0 {
            return None;
        }
        let end = offset + count;
        let segment = batch.documents[row].len() as i32;
        batch.documents[row].push(sequence.document);

        let ids = &sequence.ids[offset..end];
        batch.ids.extend(ids.iter().map(|&id| id as i32));
        batch.bytes.extend_from_slice(&sequence.bytes[offset..end]);
        batch.positions.extend(0..count as i32);
        let size = filled + count;
        batch.segments.resize(size, segment);
        batch.tags.resize(size, sequence.tag);
        batch.domains.resize(size, sequence.stated);
        match &sequence.learned {
            None => batch.counted.resize(size - 1, true),
            Some(learned) => batch.counted.extend_from_slice(&learned[offset + 1..end]),
        }
        batch.counted.push(false);
        (end < sequence.len()).then_some(end - 1)
    }

    /// Pads the current row to its end.
    pub(super) fn end_row(&mut self) {
        let filled = self.batch.ids.len();
        self.fill(filled.next_multiple_of(self.batch.seq_len));
    }

    /// Returns the batch, padded to its full size.
    pub(super) fn finish(mut self) -> PackedBatch {
        self.fill(self.batch.rows * self.batch.seq_len);
        self.batch
    }

    fn fill(&mut self, size: usize) {
        let batch = &mut self.batch;
        // masked, so any row of the embedding table does; a tokenizer's own padding may lie beyond the table
        batch.ids.resize(size, 0);
        batch.segments.resize(size, PADDING);
        batch.positions.resize(size, 0);
        batch.tags.resize(size, UNTAGGED);
        batch.domains.resize(size, UNTAGGED);
        batch.counted.resize(size, false);
        batch.bytes.resize(size, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::corpus;
    use super::*;

    fn pack(documents: &[(&str, &str)], tags: Tags, rows: usize, seq_len: usize) -> PackedBatch {
        let corpus = corpus(documents);
        let mut packer = Packer::new(rows, seq_len);
        for number in 0..corpus.len() {
            let sequence = Sequence::load(&corpus, number, tags).unwrap();
            let mut next = Some(0);
            while let Some(offset) = next {
                next = packer.push(&sequence, offset);
            }
        }
        packer.finish()
    }

    const BOS: i32 = 1;
    const EOS: i32 = 2;
    const CODE: i32 = 8;

    fn id(byte: u8) -> i32 {
        let text = char::from(byte).to_string();
        crate::tokenizer::Tokenizer::bytes().encode(&text).unwrap()[0] as i32
    }

    #[test]
    fn documents_lie_side_by_side_and_the_rest_is_padding() {
        let (a, b, c) = (id(b'a'), id(b'b'), id(b'c'));

        let batch = pack(&[("code", "ab"), ("", "c")], Tags::GivenWithToken, 1, 10);

        assert_eq!(batch.ids, [BOS, CODE, a, b, EOS, BOS, c, EOS, 0, 0]);
        assert_eq!(batch.segments, [0, 0, 0, 0, 0, 1, 1, 1, -1, -1]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 0, 1, 2, 0, 0]);
        assert_eq!(batch.tags, [1, 1, 1, 1, 1, 10, 10, 10, 10, 10]);
        assert_eq!(batch.domains, [1, 1, 1, 1, 1, 10, 10, 10, 10, 10]);
        assert_eq!(batch.bytes, [0, 0, 1, 1, 0, 0, 1, 0, 0, 0]);
        let counted = [
            true, true, true, true, false, true, true, false, false, false,
        ];
        assert_eq!(batch.counted, counted);
        assert_eq!(batch.documents, [vec![0, 1]]);
        assert_eq!((batch.counted_tokens(), batch.counted_bytes()), (6, 3));
    }

    #[test]
    fn a_dropped_tag_is_gone_from_router_and_text_but_not_from_measuring() {
        let batch = pack(&[("code", "ab")], Tags::Dropped, 1, 4);
        assert_eq!(batch.ids, [BOS, id(b'a'), id(b'b'), EOS]);
        assert_eq!(batch.tags, [UNTAGGED; 4]);
        assert_eq!(batch.domains, [1; 4]);

        let batch = pack(&[("code", "ab")], Tags::Given, 1, 4);
        assert_eq!(batch.ids, [BOS, id(b'a'), id(b'b'), EOS]);
        assert_eq!(batch.tags, [1; 4]);
    }

    #[test]
    fn a_cut_document_goes_on_with_the_token_at_which_it_was_cut() {
        let batch = pack(&[("", "abcd")], Tags::Given, 3, 3);
        let [a, b, c, d] = [b'a', b'b', b'c', b'd'].map(id);
        assert_eq!(batch.ids, [BOS, a, b, b, c, d, d, EOS, 0]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2, 0, 1, 0]);
        assert_eq!(batch.documents, [vec![0], vec![0], vec![0]]);
        assert_eq!((batch.counted_tokens(), batch.counted_bytes()), (5, 4));
    }

    #[test]
    fn of_a_conversation_the_assistant_is_learned_and_nobody_else() {
        use crate::tokenizer::chat::{Message, Role};
        let turns = vec![
            Message::new(Role::User, "a"),
            Message::new(Role::Assistant, "bc"),
        ];
        let document = super::super::Document {
            conversation: Some(turns.into()),
            ..super::super::Document::from("abc")
        };
        let documents = [Ok(document), Ok(super::super::Document::from("x"))];
        let tokenizer = crate::tokenizer::Tokenizer::bytes();
        let corpus = Corpus::in_memory(documents, &tokenizer).unwrap();
        let mut packer = Packer::new(1, 13);
        for number in 0..2 {
            let sequence = Sequence::load(&corpus, number, Tags::Dropped).unwrap();
            assert_eq!(packer.push(&sequence, 0), None);
        }
        let batch = packer.finish();
        let [user, assistant, end] = ["<|user|>", "<|assistant|>", "<|end|>"]
            .map(|name| tokenizer.token_id(name).unwrap() as i32);
        let [a, b, c, x] = [b'a', b'b', b'c', b'x'].map(id);
        let expected = [BOS, user, a, end, assistant, b, c, end, EOS, BOS, x, EOS, 0];
        assert_eq!(batch.ids, expected);
        let predicted = |at: &usize| batch.counted[*at];
        let learned: Vec<i32> = (0..12)
            .filter(predicted)
            .map(|at| batch.ids[at + 1])
            .collect();
        assert_eq!(learned, [b, c, end, x, EOS]);
    }

    #[test]
    fn a_single_free_place_holds_a_token_that_predicts_nothing() {
        let batch = pack(&[("", "a"), ("", "b")], Tags::Given, 2, 4);
        let (a, b) = (id(b'a'), id(b'b'));
        assert_eq!(batch.ids, [BOS, a, EOS, BOS, BOS, b, EOS, 0]);
        assert_eq!(batch.segments, [0, 0, 0, 1, 0, 0, 0, -1]);
        assert_eq!(batch.counted_tokens(), 4);
    }
}
