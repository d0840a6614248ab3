//! Exact counts of which experts were chosen, by tag.

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use darkhorse_backends::product::Times;
use serde::{Deserialize, Serialize};

use super::domain::TAGS;

/// Row index of tokens that do not count.
pub const NOT_COUNTED: usize = TAGS;

/// How often each expert was chosen by tokens of each tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCounts {
    experts: usize,
    /// `[TAGS, experts]`, row by row.
    counts: Vec<u64>,
}

impl LoadCounts {
    /// No token seen.
    pub fn new(experts: usize) -> Self {
        Self {
            experts,
            counts: vec![0; TAGS * experts],
        }
    }

    /// Reads what [`count`] computed.
    ///
    /// # Panics
    ///
    /// If `values` is not `[TAGS, experts]`.
    pub fn from_values(values: &[f32], experts: usize) -> Self {
        assert_eq!(values.len(), TAGS * experts);
        Self {
            experts,
            counts: values.iter().map(|&value| value.round() as u64).collect(),
        }
    }

    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Adds `times` choices of `expert` by tokens with `tag`.
    pub fn add(&mut self, tag: usize, expert: usize, times: u64) {
        self.counts[tag * self.experts + expert] += times;
    }

    /// Adds another batch.
    ///
    /// # Panics
    ///
    /// If it counts another number of experts.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.experts, other.experts);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Choices by tokens of one tag, `[experts]`.
    pub fn of_tag(&self, tag: usize) -> &[u64] {
        &self.counts[tag * self.experts..][..self.experts]
    }

    /// Choices by all tokens, `[experts]`.
    pub fn total(&self) -> Vec<u64> {
        (0..self.experts)
            .map(|expert| (0..TAGS).map(|tag| self.of_tag(tag)[expert]).sum())
            .collect()
    }
}

/// How often each token chose each expert, zero or one, `[tokens, experts]`.
pub(super) fn choices<B: Backend>(indices: Tensor<B, 2, Int>, experts: usize) -> Tensor<B, 2> {
    let [tokens, k] = indices.dims();
    let device = indices.device();
    Tensor::<B, 2>::zeros([tokens, experts], &device).scatter(
        1,
        indices,
        Tensor::ones([tokens, k], &device),
        IndexingUpdateOp::Add,
    )
}

/// Counts choices by tag on the device; exact up to 2^24 tokens a call.
///
/// # Shapes
///
/// - indices: `[tokens, k]`; tags: `[tokens]`, below [`TAGS`] or [`NOT_COUNTED`]; output: `[TAGS, experts]`
pub fn count<B: Backend>(
    indices: Tensor<B, 2, Int>,
    tags: Tensor<B, 1, Int>,
    experts: usize,
) -> Tensor<B, 2> {
    let [tokens, _] = indices.dims();
    let by_tag = choices::<B>(tags.reshape([tokens, 1]), TAGS + 1)
        .narrow(1, 0, TAGS)
        .transpose();
    by_tag.times(choices(indices, experts))
}
