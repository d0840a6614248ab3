//! What a mixer says of itself before it is built: whether its configuration is sound, and what it costs.

use darkhorse_backends::quantized::BLOCK;

use crate::model::error::ModelConfigError;
use crate::model::saturating::{product, sum};

/// A mixer's section of the configuration. All else that counts weights, FLOPs or bytes asks here.
pub(in crate::model) trait MixerSpec {
    /// Checks the fields.
    ///
    /// # Errors
    ///
    /// The first field that is out of range or does not fit another, by its name within the section.
    fn validate(&self) -> Result<(), ModelConfigError>;

    /// What rotary positions turn; absent: nothing.
    fn rotated(&self) -> Option<Rotated> {
        None
    }

    /// Widths that must be whole blocks where matrices are in blocks, each with the fields that make it. Other
    /// matrices without whole blocks stay numbers.
    fn block_widths(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    /// What a layer costs in a model `hidden` wide. Expects a validated section.
    fn cost(&self, hidden: usize) -> MixerCost;
}

/// Dimensions of a head that rotary positions turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Rotated {
    /// Field of the section that says how many.
    pub(in crate::model) field: &'static str,
    /// How many; 0: none.
    pub(in crate::model) dims: usize,
}

/// What one layer of a mixer costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::model) struct MixerCost {
    /// Matrices of the projections, `[in, out]`.
    pub(in crate::model) projections: Vec<[usize; 2]>,
    /// Number of all other weights but `norms`: convolutions, biases, rates of decay.
    pub(in crate::model) others: u64,
    /// Number of normalization weights.
    pub(in crate::model) norms: u64,
    /// FLOPs of a token beside the projections, whatever it sees.
    pub(in crate::model) token_flops: u64,
    /// FLOPs of a token for every position that it sees.
    pub(in crate::model) pair_flops: PairFlops,
    /// Number of positions that a token sees at most, itself included; absent: all.
    pub(in crate::model) window: Option<usize>,
    /// What decoding keeps of every position.
    pub(in crate::model) rows: Vec<Rows>,
    /// What decoding keeps of a sequence, whatever its length.
    pub(in crate::model) state: State,
    /// Numbers that the backward pass keeps of every token; an estimate.
    pub(in crate::model) activations: u64,
}

/// FLOPs of attention from one token to one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::model) struct PairFlops {
    /// In a whole sequence.
    pub(in crate::model) whole: u64,
    /// While decoding.
    pub(in crate::model) decoding: u64,
}

/// Rows of one width that are kept of every position, one per head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Rows {
    /// Number of rows.
    pub(in crate::model) heads: usize,
    /// Numbers of a row.
    pub(in crate::model) width: usize,
    /// What they are held as.
    pub(in crate::model) format: RowFormat,
}

/// What the numbers of [`Rows`] are held as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum RowFormat {
    /// What [`CacheConfig`](crate::model::cache::CacheConfig) asks for.
    AsAsked,
    /// f32, whatever it asks for.
    F32,
}

/// Numbers that are kept of a sequence, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::model) struct State {
    /// Of the type of the activations.
    pub(in crate::model) activations: u64,
    /// In f32.
    pub(in crate::model) f32: u64,
}

impl PairFlops {
    /// The same in both.
    pub(in crate::model) fn both(flops: u64) -> Self {
        Self {
            whole: flops,
            decoding: flops,
        }
    }
}

impl MixerCost {
    /// Number of all weights but the norms.
    pub(in crate::model) fn weights(&self) -> u64 {
        let projections = self.projections.iter();
        sum(projections.map(|dims| product(*dims)).chain([self.others]))
    }

    /// Those of them that are numbers also where matrices are in blocks.
    pub(in crate::model) fn unquantized(&self) -> u64 {
        let projections = self.projections.iter();
        let broken = projections.filter(|[_, outer]| !outer.is_multiple_of(BLOCK));
        sum(broken.map(|dims| product(*dims)).chain([self.others]))
    }

    /// Numbers that decoding keeps of every position.
    pub(in crate::model) fn row_values(&self) -> u64 {
        let rows = self.rows.iter();
        sum(rows.map(|rows| product([rows.heads, rows.width])))
    }

    /// FLOPs of a token beside the projections, on average over a whole sequence of `seq` tokens.
    pub(in crate::model) fn whole_flops(&self, seq: usize) -> u64 {
        // a token sees all up to itself, or its window: `seen` positions once there are as many, fewer before
        let seen = self.window.unwrap_or(seq).min(seq);
        let twice = product([seen, (seq - seen).saturating_add(seq).saturating_add(1)]);
        let pairs = (self.pair_flops.whole / 2).saturating_mul(twice) / seq.max(1) as u64;
        self.token_flops.saturating_add(pairs)
    }

    /// FLOPs of a token beside the projections that sees `context` positions, itself included.
    pub(in crate::model) fn decoding_flops(&self, context: usize) -> u64 {
        let seen = self.window.unwrap_or(context).min(context) as u64;
        let pairs = self.pair_flops.decoding.saturating_mul(seen);
        self.token_flops.saturating_add(pairs)
    }
}
