//! Specification of a mixer from its configuration: validity and cost.

use darkhorse_backends::quantized::BLOCK;

use crate::model::error::ModelConfigError;
use crate::model::saturating::{product, sum};

/// Configuration section of a mixer. All counts of weights, FLOPs and bytes derive from it.
pub(in crate::model) trait MixerSpec {
    /// Checks the fields.
    ///
    /// # Errors
    ///
    /// The first field that is out of range or does not fit another, by its name within the section.
    fn validate(&self) -> Result<(), ModelConfigError>;

    /// Rotated dimensions; `None` without rotary positions.
    fn rotated(&self) -> Option<Rotated> {
        None
    }

    /// Widths that must be multiples of the block length if matrices are quantized, each with the fields that
    /// determine it. Other matrices stay unquantized if their rows are not whole blocks.
    fn block_widths(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    /// Cost of one layer in a model of width `hidden`. Expects a valid section.
    fn cost(&self, hidden: usize) -> MixerCost;
}

/// Dimensions of a head with rotary positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Rotated {
    /// Field of the section that sets the number.
    pub(in crate::model) field: &'static str,
    /// Number of rotated dimensions; 0: none.
    pub(in crate::model) dims: usize,
}

/// Cost of one layer with this mixer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::model) struct MixerCost {
    /// Shapes of the projection matrices, `[in, out]`.
    pub(in crate::model) projections: Vec<[usize; 2]>,
    /// Number of other weights, without `norms`: convolutions, biases, decay rates.
    pub(in crate::model) others: u64,
    /// Number of normalization weights.
    pub(in crate::model) norms: u64,
    /// FLOPs per token beside the projections that do not depend on the context.
    pub(in crate::model) token_flops: u64,
    /// FLOPs per token and visible position.
    pub(in crate::model) pair_flops: PairFlops,
    /// Maximum number of positions that a token sees, itself included; absent: all.
    pub(in crate::model) window: Option<usize>,
    /// Rows cached per position.
    pub(in crate::model) rows: Vec<Rows>,
    /// Values cached per sequence, independent of its length.
    pub(in crate::model) state: State,
    /// Estimated number of values per token kept for the backward pass.
    pub(in crate::model) activations: u64,
}

/// FLOPs of attention per pair of token and visible position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::model) struct PairFlops {
    /// In a pass over a whole sequence.
    pub(in crate::model) whole: u64,
    /// In decoding.
    pub(in crate::model) decoding: u64,
}

/// Rows of one width cached per position, one per head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Rows {
    /// Number of rows.
    pub(in crate::model) heads: usize,
    /// Number of values per row.
    pub(in crate::model) width: usize,
    /// Format of the values.
    pub(in crate::model) format: RowFormat,
}

/// Format of cached rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum RowFormat {
    /// The format of [`CacheConfig`](crate::model::cache::CacheConfig).
    AsAsked,
    /// f32, whatever the cache's format.
    F32,
}

/// Upper bound on the values cached per sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::model) struct State {
    /// Values in the type of the activations.
    pub(in crate::model) activations: u64,
    /// Values in f32.
    pub(in crate::model) f32: u64,
}

impl PairFlops {
    /// Equal FLOPs in both cases.
    pub(in crate::model) fn both(flops: u64) -> Self {
        Self {
            whole: flops,
            decoding: flops,
        }
    }
}

impl MixerCost {
    /// Number of all weights, without `norms`.
    pub(in crate::model) fn weights(&self) -> u64 {
        let projections = self.projections.iter();
        sum(projections.map(|dims| product(*dims)).chain([self.others]))
    }

    /// Those of [`weights`](Self::weights) that stay unquantized when matrices are in blocks.
    pub(in crate::model) fn unquantized(&self) -> u64 {
        let projections = self.projections.iter();
        let broken = projections.filter(|[_, outer]| !outer.is_multiple_of(BLOCK));
        sum(broken.map(|dims| product(*dims)).chain([self.others]))
    }

    /// Number of values cached per position.
    pub(in crate::model) fn row_values(&self) -> u64 {
        let rows = self.rows.iter();
        sum(rows.map(|rows| product([rows.heads, rows.width])))
    }

    /// FLOPs per token beside the projections, averaged over a whole sequence of `seq` tokens.
    pub(in crate::model) fn whole_flops(&self, seq: usize) -> u64 {
        // a token sees all positions up to itself, or its window: `seen` positions once there are that many
        let seen = self.window.unwrap_or(seq).min(seq);
        let twice = product([seen, (seq - seen).saturating_add(seq).saturating_add(1)]);
        let pairs = (self.pair_flops.whole / 2).saturating_mul(twice) / seq.max(1) as u64;
        self.token_flops.saturating_add(pairs)
    }

    /// FLOPs beside the projections of a token that sees `context` positions, itself included.
    pub(in crate::model) fn decoding_flops(&self, context: usize) -> u64 {
        let seen = self.window.unwrap_or(context).min(context) as u64;
        let pairs = self.pair_flops.decoding.saturating_mul(seen);
        self.token_flops.saturating_add(pairs)
    }
}
