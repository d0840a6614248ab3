//! The run's data as data loaders of burn-train.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::tensor::backend::Backend;

use super::error::RunError;
use super::uncounted::Uncounted;
use crate::data::{Corpus, DataError, PackedBatch, Pass, Position, Stream, Tags};
use crate::training::batch::MicroBatch;

/// Micro-batches of a training stream, optimizer step by optimizer step.
#[derive(Debug, Clone)]
pub struct TrainFeed {
    state: Arc<Mutex<FeedState>>,
    accumulation: usize,
    depths: usize,
    steps: u64,
}

#[derive(Debug)]
struct FeedState {
    stream: Stream,
    step: u64,
    waiting: VecDeque<MicroBatch>,
    error: Option<DataError>,
}

impl TrainFeed {
    /// Feeds a run of `steps` steps, of which `done` are done; `stream` must stand after these.
    pub fn new(stream: Stream, accumulation: usize, depths: usize, steps: u64, done: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(FeedState {
                stream,
                step: done,
                waiting: VecDeque::new(),
                error: None,
            })),
            accumulation,
            depths,
            steps,
        }
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Position of the stream after the last step that was fed.
    pub fn position(&self) -> Position {
        self.state().stream.position()
    }

    /// The error that ended the stream at `step` of `steps`; `saved` is the step of the newest checkpoint.
    pub(super) fn ended(&self, step: u64, steps: u64, saved: Option<u64>) -> RunError {
        match self.state().error.take() {
            Some(error) => error.into(),
            None => RunError::OutOfRows { step, steps, saved },
        }
    }

    fn next_micro_batch(&self) -> Option<MicroBatch> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            if state.step >= self.steps {
                return None;
            }
            let rows: Result<Vec<PackedBatch>, DataError> = (0..self.accumulation)
                .map(|_| state.stream.next_batch())
                .collect();
            match rows {
                Ok(rows) => {
                    state.step += 1;
                    state.waiting = MicroBatch::of_step(state.step, rows, self.depths).into();
                }
                Err(error) => {
                    state.error = Some(error);
                    return None;
                }
            }
        }
        state.waiting.pop_front()
    }
}

struct TrainFeedIterator<'a>(&'a TrainFeed);

impl Iterator for TrainFeedIterator<'_> {
    type Item = MicroBatch;

    fn next(&mut self) -> Option<MicroBatch> {
        self.0.next_micro_batch()
    }
}

impl DataLoaderIterator<MicroBatch> for TrainFeedIterator<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.0.state().step as usize, self.0.steps as usize)
    }
}

impl<B: Backend> DataLoader<B, MicroBatch> for TrainFeed {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<MicroBatch> + 'a> {
        Box::new(TrainFeedIterator(self))
    }

    fn num_items(&self) -> usize {
        self.steps as usize * self.accumulation
    }

    fn to_device(&self, _device: &B::Device) -> Arc<dyn DataLoader<B, MicroBatch>> {
        // micro-batches become tensors on the model's device
        Arc::new(self.clone())
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<B, MicroBatch>> {
        Arc::new(self.clone())
    }
}

/// The validation text; each iteration is one pass.
#[derive(Debug, Clone)]
pub struct ValidFeed {
    /// The validation text; `None` gives no batches.
    pub corpus: Option<Arc<Corpus>>,
    /// Rows per batch.
    pub rows: usize,
    /// Tokens per row.
    pub seq_len: usize,
    /// Largest number of batches per pass; 0: all.
    pub batches: usize,
}

impl ValidFeed {
    /// Digest that identifies the text, its batching and its limit, for comparing losses; `None` without text.
    pub fn measure(&self) -> Option<String> {
        let digest = self.corpus.as_ref()?.digest();
        // losses of documents cut at row ends, as in older versions, are not comparable
        let packing = "whole documents";
        let text = format!(
            "{digest} {} {} {} {packing}",
            self.rows, self.seq_len, self.batches
        );
        Some(blake3::hash(text.as_bytes()).to_hex()[..16].to_owned())
    }

    /// One pass over the text, with the documents' tags or without.
    pub fn pass(&self, tags: Tags) -> Box<dyn Iterator<Item = Result<PackedBatch, DataError>>> {
        let limit = match self.batches {
            0 => usize::MAX,
            batches => batches,
        };
        let Some(corpus) = &self.corpus else {
            return Box::new(std::iter::empty());
        };
        match Pass::new(corpus.clone(), self.rows, self.seq_len, tags) {
            Ok(pass) => Box::new(pass.take(limit)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }
}

impl ValidFeed {
    /// Returns the error for a text in which no token was counted; `Ok` without text.
    ///
    /// # Errors
    ///
    /// [`RunError::NothingToMeasure`], or a text that cannot be read.
    pub fn refuse_uncounted(&self) -> Result<(), RunError> {
        let (Some(corpus), Some(rows)) = (&self.corpus, self.pass(Tags::Given).next()) else {
            return Ok(());
        };
        Err(RunError::NothingToMeasure {
            first: corpus.origin(0)?,
            reason: Uncounted::from(&rows?),
        })
    }
}

struct ValidFeedIterator(Box<dyn Iterator<Item = Result<PackedBatch, DataError>>>);

impl Iterator for ValidFeedIterator {
    type Item = PackedBatch;

    fn next(&mut self) -> Option<PackedBatch> {
        self.0.next()?.ok()
    }
}

impl DataLoaderIterator<PackedBatch> for ValidFeedIterator {
    fn progress(&self) -> Progress {
        Progress::new(0, 1)
    }
}

impl<B: Backend> DataLoader<B, PackedBatch> for ValidFeed {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<PackedBatch> + 'a> {
        Box::new(ValidFeedIterator(self.pass(Tags::Given)))
    }

    fn num_items(&self) -> usize {
        self.corpus.as_ref().map_or(0, |corpus| corpus.len())
    }

    fn to_device(&self, _device: &B::Device) -> Arc<dyn DataLoader<B, PackedBatch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<B, PackedBatch>> {
        Arc::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Document, Mix, StreamConfig};
    use crate::tokenizer::Tokenizer;

    #[test]
    fn a_feed_that_ends_without_an_error_is_not_a_loss_that_is_not_finite() {
        let text = "a text of more tokens than a row";
        let corpus = Corpus::in_memory([Ok(Document::from(text))], &Tokenizer::bytes()).unwrap();
        let config = StreamConfig {
            seq_len: 8,
            rows: 1,
            mix: Mix::new(&[]).unwrap(),
            domain_dropout: 0.0,
            domain_token: false,
            seed: 0,
        };
        let stream = Stream::new(Arc::new(corpus), config, Position::default()).unwrap();
        let feed = TrainFeed::new(stream, 1, 0, 2, 0);
        assert_eq!(TrainFeedIterator(&feed).count(), 2);
        assert_eq!(
            feed.ended(3, 10, Some(2)).to_string(),
            "the training text ended before step 3 of 10, without an error; the checkpoint of step 2 is intact: go on by \
             `--resume`"
        );
    }
}
