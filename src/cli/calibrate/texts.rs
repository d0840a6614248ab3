//! The text of a carving: what it is found by, and what it is measured on.

use std::sync::Arc;

use tempfile::TempDir;

use super::CalibrateArgs;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::text::{passing_folder, tokenized_for};
use crate::data::{Corpus, PackedBatch, Position, Stream, StreamConfig, Tags};
use crate::run::ValidFeed;
use crate::stored::Stored;
use crate::surgery::carve::HeldOutText;

/// Share of the documents that is held out.
const HELD_OUT: f64 = 0.2;

/// Most tokens per row.
const ROW: usize = 1024;

/// Most tokens per batch.
const BATCH: usize = 4096;

/// Tokens to carve by for each held-out token that is measured.
const MEASURED: usize = 8;

/// Rows of both texts.
pub(super) struct Texts {
    pub(super) calibration: Vec<PackedBatch>,
    pub(super) held_out: HeldOutText,
    /// All text that is not held out.
    learned: Arc<Corpus>,
    seq_len: usize,
    /// Folder of the tokenized text.
    _folder: TempDir,
}

impl Texts {
    /// Reads and divides the text.
    pub(super) fn read(args: &CalibrateArgs, stored: &Stored) -> Result<Self, Failure> {
        let config = &stored.experiment.model;
        let source = args.reading.source(&args.data)?;
        let tokenizer = stored.tokenizer.readable()?;
        let tokenizer = tokenizer.ok_or(crate::stored::OpenError::NoTokenizer)?;
        let folder = passing_folder()?;
        let corpus = tokenized_for(&source, tokenizer, config.vocab_size, folder.path())?;
        let (learned, held_out) = corpus.hold_out(HELD_OUT).or_input()?;
        let Some(held_out) = held_out else {
            return Err(Failure::input(
                "the data has too few documents to hold a fifth of them out: a domain needs 20",
            ));
        };
        let seq_len = ROW.min(config.max_position_embeddings);
        let asked = args.calibration_tokens;
        let rows = Rows {
            rows: (BATCH.min(asked) / seq_len).max(1),
            seq_len,
            seed: args.seed,
        };
        let learned = Arc::new(learned);
        let calibration = rows.of(learned.clone(), asked, "to carve by")?;
        let tokens: usize = calibration.iter().map(PackedBatch::tokens).sum();
        if tokens <= config.hidden_size {
            return Err(Failure::input(format!(
                "the text to carve by has {tokens} tokens, expected more than `hidden_size`, {}: name more data",
                config.hidden_size
            )));
        }
        let held_out = rows.of(Arc::new(held_out), asked / MEASURED, "to measure on")?;
        Ok(Self {
            calibration,
            held_out: HeldOutText::new(held_out, tokenizer),
            learned,
            seq_len,
            _folder: folder,
        })
    }

    /// Single rows of all text that is not held out, in random order, again and again.
    pub(super) fn stream(&self, seed: u64) -> Result<Stream, Failure> {
        let tokens = usize::try_from(self.learned.total().tokens).unwrap_or(usize::MAX);
        let shape = StreamConfig::new(1, self.seq_len.min(tokens), seed);
        Stream::new(self.learned.clone(), shape, Position::default()).or_input()
    }

    /// Tokens of the text to carve by.
    pub(super) fn calibration_tokens(&self) -> u64 {
        self.calibration
            .iter()
            .map(|rows| rows.tokens() as u64)
            .sum()
    }
}

/// Shape and order of batches.
struct Rows {
    rows: usize,
    seq_len: usize,
    seed: u64,
}

impl Rows {
    /// Batches of about `asked` tokens in random order, or of the whole text if it is shorter.
    fn of(
        &self,
        corpus: Arc<Corpus>,
        asked: usize,
        what: &str,
    ) -> Result<Vec<PackedBatch>, Failure> {
        let batch = self.rows * self.seq_len;
        let batches = asked.div_ceil(batch).max(1);
        let there = corpus.total().tokens;
        if there < (batches * batch) as u64 {
            if (there as usize) < asked {
                notice::tell(format_args!(
                    "the text {what} has {there} tokens, fewer than the {asked} asked for: all are used"
                ));
            }
            let whole = ValidFeed {
                corpus: Some(corpus),
                rows: self.rows,
                seq_len: self.seq_len,
                batches: 0,
            };
            return whole.pass(Tags::Given).collect::<Result<_, _>>().or_input();
        }
        let shape = StreamConfig::new(self.rows, self.seq_len, self.seed);
        let mut stream = Stream::new(corpus, shape, Position::default()).or_input()?;
        let rows = (0..batches).map(|_| stream.next_batch());
        rows.collect::<Result<_, _>>().or_input()
    }
}
