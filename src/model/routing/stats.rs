//! Exact counts of which experts were chosen, by tag.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use darkhorse_backends::product::Times;

use super::balance::quantile::Margins;
use super::domain::TAGS;

/// Row index of tokens that do not count.
pub const NOT_COUNTED: usize = TAGS;

/// What the router of one layer did in an optimizer step, over all micro-batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// How often each slot was chosen.
    pub counts: LoadCounts,
    /// How far each token was from choosing each slot, where the balance rule asks for it.
    pub margins: Option<Margins>,
}

impl Observed {
    /// Adds another micro-batch.
    ///
    /// # Panics
    ///
    /// If it is of a router with other slots.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        match (&mut self.margins, &other.margins) {
            (Some(margins), Some(more)) => margins.merge(more),
            (None, None) => {}
            _ => panic!("all micro-batches of a step are routed alike"),
        }
    }
}

/// How often each slot was chosen by tokens of each tag: the routed experts first, then the null experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadCounts {
    experts: usize,
    slots: usize,
    /// `[TAGS, slots]`, row by row.
    counts: Vec<u64>,
}

impl LoadCounts {
    /// No token seen, no null experts.
    pub fn new(experts: usize) -> Self {
        Self::with_null(experts, 0)
    }

    /// No token seen.
    pub fn with_null(experts: usize, null: usize) -> Self {
        let slots = experts + null;
        Self {
            experts,
            slots,
            counts: vec![0; TAGS * slots],
        }
    }

    /// Reads what [`count`] computed for slots of which the first `experts` are experts.
    ///
    /// # Panics
    ///
    /// If `values` is not `[TAGS, slots]`, or there are fewer slots than experts.
    pub fn from_values(values: &[f32], experts: usize) -> Self {
        let slots = values.len() / TAGS;
        assert!(values.len().is_multiple_of(TAGS) && slots >= experts);
        Self {
            experts,
            slots,
            counts: values.iter().map(|&value| value.round() as u64).collect(),
        }
    }

    /// Number of routed experts.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Number of null experts.
    pub fn null_experts(&self) -> usize {
        self.slots - self.experts
    }

    /// Adds `times` choices of `slot` by tokens with `tag`.
    pub fn add(&mut self, tag: usize, slot: usize, times: u64) {
        self.counts[tag * self.slots + slot] += times;
    }

    /// Adds another batch.
    ///
    /// # Panics
    ///
    /// If it counts other slots.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!((self.experts, self.slots), (other.experts, other.slots));
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Choices of the routed experts by tokens of one tag, `[experts]`.
    pub fn of_tag(&self, tag: usize) -> &[u64] {
        &self.counts[tag * self.slots..][..self.experts]
    }

    /// Choices of the routed experts by all tokens, `[experts]`.
    pub fn total(&self) -> Vec<u64> {
        self.sums(0..self.experts)
    }

    /// Choices of the null experts by all tokens, `[null_experts]`.
    pub fn null(&self) -> Vec<u64> {
        self.sums(self.experts..self.slots)
    }

    fn sums(&self, slots: Range<usize>) -> Vec<u64> {
        let of_slot = |slot| {
            (0..TAGS)
                .map(|tag| self.counts[tag * self.slots + slot])
                .sum()
        };
        slots.map(of_slot).collect()
    }
}

/// How often each token chose each slot, zero or one, `[tokens, slots]`.
pub(super) fn choices<B: Backend>(indices: Tensor<B, 2, Int>, slots: usize) -> Tensor<B, 2> {
    let [tokens, k] = indices.dims();
    let device = indices.device();
    Tensor::<B, 2>::zeros([tokens, slots], &device).scatter(
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
/// - indices: `[tokens, k]`; tags: `[tokens]`, below [`TAGS`] or [`NOT_COUNTED`]; output: `[TAGS, slots]`
pub fn count<B: Backend>(
    indices: Tensor<B, 2, Int>,
    tags: Tensor<B, 1, Int>,
    slots: usize,
) -> Tensor<B, 2> {
    let [tokens, _] = indices.dims();
    let by_tag = choices::<B>(tags.reshape([tokens, 1]), TAGS + 1)
        .narrow(1, 0, TAGS)
        .transpose();
    by_tag.times(choices(indices, slots))
}
