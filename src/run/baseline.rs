//! A baseline: the loss of a model that knows only token frequencies.

use super::error::RunError;
use super::feed::ValidFeed;
use crate::data::{Corpus, Tags};
use crate::training::batch;

/// Loss of a unigram model with add-one smoothing on the counted targets of `valid`, in nats per token.
///
/// # Errors
///
/// The text cannot be read.
pub fn unigram_loss(train: &Corpus, valid: &ValidFeed) -> Result<f64, RunError> {
    let mut counts = vec![1u64; train.vocab_size()];
    for number in 0..train.len() {
        for &token in &train.document(number)?.tokens {
            counts[token as usize] += 1;
        }
    }
    let total = counts.iter().sum::<u64>() as f64;
    let (mut nats, mut tokens) = (0.0, 0u64);
    for rows in valid.pass(Tags::Dropped) {
        let targets = batch::targets(&rows?, 0);
        for (id, counted) in targets.ids.into_iter().zip(targets.counted) {
            if counted {
                nats -= (counts[id as usize] as f64 / total).ln();
                tokens += 1;
            }
        }
    }
    Ok(nats / tokens as f64)
}
