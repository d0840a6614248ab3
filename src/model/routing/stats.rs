//! Exact counts of chosen experts, by tag.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use darkhorse_backends::product::Times;

use super::balance::quantile::Margins;
use super::growth::Roster;
use crate::domain::TAGS;

/// Tag of tokens that are not counted.
pub const NOT_COUNTED: usize = TAGS;

/// Observations of one layer's router during an optimizer step, over all micro-batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Number of choices of each slot.
    pub counts: LoadCounts,
    /// Histograms of the margins, if the balance rule uses them.
    pub margins: Option<Margins>,
    /// Demand for experts, if their number grows.
    pub growth: Option<Demand>,
}

/// Demand of tokens for the experts of a layer, before balancing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// Slots chosen per token.
    pub k: usize,
    /// Number of choices of each slot if there were no bias; empty: not counted.
    pub unbiased: Vec<u64>,
    /// Sampled tokens and their choices; empty: not sampled.
    pub sample: Sample,
}

/// Tokens with the slots that they chose.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Router inputs, `[tokens, hidden_size]`, row by row.
    pub hidden: Vec<f32>,
    /// Chosen slots, `[tokens, k]`, row by row.
    pub indices: Vec<usize>,
    /// Width of a row of `hidden`.
    pub width: usize,
    /// Width of a row of `indices`.
    pub k: usize,
}

impl Sample {
    /// Collects the counted tokens: those with a tag below [`NOT_COUNTED`]. Inputs and choices come with their row
    /// widths.
    pub fn of_tokens(
        (hidden, width): (&[f32], usize),
        (indices, k): (&[i64], usize),
        tags: &[i64],
    ) -> Self {
        let counted: Vec<usize> = (0..tags.len())
            .filter(|&token| tags[token] < NOT_COUNTED as i64)
            .collect();
        let states = counted
            .iter()
            .map(|&token| &hidden[token * width..][..width]);
        let chosen = counted.iter().map(|&token| &indices[token * k..][..k]);
        Self {
            hidden: states.flatten().copied().collect(),
            indices: chosen.flatten().map(|&index| index as usize).collect(),
            width,
            k,
        }
    }

    /// Router inputs of the newest tokens that chose `expert`, at most `most`, newest last.
    pub fn of_expert(&self, expert: usize, most: usize) -> Vec<&[f32]> {
        let rows = self.indices.chunks(self.k.max(1)).enumerate();
        let chose = rows.filter(|(_, chosen)| chosen.contains(&expert));
        let states: Vec<&[f32]> = chose
            .map(|(token, _)| &self.hidden[token * self.width..][..self.width])
            .collect();
        states[states.len().saturating_sub(most)..].to_vec()
    }

    /// Router inputs of the newest `most` tokens, newest last.
    pub fn all(&self, most: usize) -> Vec<&[f32]> {
        let states: Vec<&[f32]> = self.hidden.chunks(self.width.max(1)).collect();
        states[states.len().saturating_sub(most)..].to_vec()
    }

    fn extend(&mut self, other: &Self) {
        (self.width, self.k) = (other.width, other.k);
        self.hidden.extend(&other.hidden);
        self.indices.extend(&other.indices);
    }
}

impl Observed {
    /// Adds the observations of another micro-batch.
    ///
    /// # Panics
    ///
    /// If the other comes from a router with other slots.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        match (&mut self.margins, &other.margins) {
            (Some(margins), Some(more)) => margins.merge(more),
            (None, None) => {}
            _ => panic!("all micro-batches of a step are routed alike"),
        }
        if let (Some(demand), Some(more)) = (&mut self.growth, &other.growth) {
            for (count, more) in demand.unbiased.iter_mut().zip(&more.unbiased) {
                *count += more;
            }
            demand.sample.extend(&more.sample);
        }
    }

    /// Restricts the observations to some slots.
    pub(super) fn of_slots(&self, slots: &[usize]) -> Self {
        Self {
            counts: self.counts.of_slots(slots),
            margins: self.margins.as_ref().map(|it| it.of_slots(slots)),
            growth: None,
        }
    }
}

/// Number of choices of each slot by tokens of each tag. Slots are the routed experts, then the null experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadCounts {
    experts: usize,
    slots: usize,
    /// `[TAGS, slots]`, row by row.
    counts: Vec<u64>,
    /// Founder of the expert in every place, `None` for a free place; absent if all places are always in use.
    founders: Option<Vec<Option<usize>>>,
}

impl LoadCounts {
    /// Zero counts, without null experts.
    pub fn new(experts: usize) -> Self {
        Self::with_null(experts, 0)
    }

    /// Zero counts of `experts` routed and `null` null experts.
    pub fn with_null(experts: usize, null: usize) -> Self {
        let slots = experts + null;
        Self {
            experts,
            slots,
            counts: vec![0; TAGS * slots],
            founders: None,
        }
    }

    /// Reads the output of [`count`]; the first `experts` slots are routed experts.
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
            founders: None,
        }
    }

    /// Adds the founders of experts that grow in number.
    pub fn of_roster(self, roster: Option<Roster>) -> Self {
        Self {
            founders: roster.map(|roster| roster.founders()),
            ..self
        }
    }

    /// Founder of the expert in every place, which defines its domain; `None` for a free place.
    pub fn founders(&self) -> Vec<Option<usize>> {
        let all = || (0..self.experts).map(Some).collect();
        self.founders.clone().unwrap_or_else(all)
    }

    /// Number of experts in use.
    pub fn experts_in_use(&self) -> usize {
        match &self.founders {
            None => self.experts,
            Some(founders) => founders.iter().flatten().count(),
        }
    }

    /// Slots that tokens may choose, null experts included; `None` if all.
    pub(super) fn slots_in_use(&self) -> Option<Vec<usize>> {
        let founders = self.founders.as_ref()?;
        let experts = (0..self.experts).filter(|&expert| founders[expert].is_some());
        Some(experts.chain(self.experts..self.slots).collect())
    }

    /// Counts restricted to some slots.
    fn of_slots(&self, slots: &[usize]) -> Self {
        let of_tag = |tag: usize| {
            slots
                .iter()
                .map(move |slot| self.counts[tag * self.slots + slot])
        };
        Self {
            experts: slots.iter().filter(|&&slot| slot < self.experts).count(),
            slots: slots.len(),
            counts: (0..TAGS).flat_map(of_tag).collect(),
            founders: None,
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

    /// Adds the counts of another batch.
    ///
    /// # Panics
    ///
    /// If the slots differ.
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

/// Number of times each token chose each slot, zero or one, `[tokens, slots]`.
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

/// Counts choices by tag on the device; exact up to 2^24 tokens per call.
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
