//! Packed rows as tensors for the loss.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;

use crate::data::PackedBatch;
use crate::model::Sequences;
use crate::model::routing::stats::NOT_COUNTED;

/// Divisors of the sums over one micro-batch: counts over the whole optimizer step, so that micro-batches with
/// unequal masks add up exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Number of counted targets by depth: next token first, then one entry per MTP module.
    pub targets: Vec<u64>,
    /// Number of rows.
    pub rows: u64,
}

/// A micro-batch and its optimizer step.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// The packed rows.
    pub rows: PackedBatch,
    /// The optimizer step, counted from 1.
    pub step: u64,
    /// Totals of the optimizer step.
    pub totals: Totals,
}

impl MicroBatch {
    /// The micro-batches of one optimizer step, for a model with `depths` MTP modules.
    pub fn of_step(step: u64, rows: Vec<PackedBatch>, depths: usize) -> Vec<Self> {
        let totals = Totals {
            targets: (0..=depths)
                .map(|depth| rows.iter().map(|rows| count_targets(rows, depth)).sum())
                .collect(),
            rows: rows.iter().map(|rows| rows.rows as u64).sum(),
        };
        let place = |rows| Self {
            rows,
            step,
            totals: totals.clone(),
        };
        rows.into_iter().map(place).collect()
    }
}

/// Targets of every position at one depth: the token `depth + 1` later, if it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Target ids, zero where the target does not count, `[rows * seq_len]`.
    pub ids: Vec<i32>,
    /// Whether the target counts, `[rows * seq_len]`.
    pub counted: Vec<bool>,
}

/// Targets at `depth`: 0 is the next token, `k` the target of MTP module `k`, counted from 1.
pub fn targets(rows: &PackedBatch, depth: usize) -> Targets {
    let ahead = depth + 1;
    let target_of = |index: usize| {
        let within_row = index % rows.seq_len + ahead < rows.seq_len;
        let counts = within_row
            && rows.segments[index] >= 0
            && rows.segments[index] == rows.segments[index + ahead]
            && rows.counted[index + depth];
        counts.then(|| rows.ids[index + ahead])
    };
    let found: Vec<Option<i32>> = (0..rows.ids.len()).map(target_of).collect();
    Targets {
        ids: found.iter().map(|id| id.unwrap_or(0)).collect(),
        counted: found.iter().map(Option::is_some).collect(),
    }
}

fn count_targets(rows: &PackedBatch, depth: usize) -> u64 {
    let counted = targets(rows, depth).counted;
    counted.into_iter().filter(|&counted| counted).count() as u64
}

/// Positions whose routing counts at `depth`: those with a token `depth` later in their document.
pub fn present(rows: &PackedBatch, depth: usize) -> Vec<bool> {
    (0..rows.ids.len())
        .map(|index| {
            index % rows.seq_len + depth < rows.seq_len
                && rows.segments[index] >= 0
                && rows.segments[index] == rows.segments[index + depth]
        })
        .collect()
}

/// Input of the model.
pub fn sequences<B: Backend>(rows: &PackedBatch, device: &B::Device) -> Sequences<B> {
    let matrix = |values: &[i32]| {
        let data = TensorData::new(values.to_vec(), [rows.rows, rows.seq_len]);
        Tensor::<B, 2, Int>::from_data(data, device)
    };
    // padding is its own document; document numbers must not be negative
    let documents: Vec<i32> = rows.segments.iter().map(|segment| segment + 1).collect();
    Sequences {
        ids: matrix(&rows.ids),
        positions: matrix(&rows.positions),
        mask: AttentionMask::Documents(matrix(&documents)),
        tags: Some(vector(rows.tags.iter().map(|&tag| i32::from(tag)), device)),
        step: None,
    }
}

/// Tag under which the routing of every token is counted: its own, or [`NOT_COUNTED`] where `present` is false.
pub fn counting_tags<B: Backend>(
    tags: &[u8],
    present: &[bool],
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    let tag = |(&tag, &present): (&u8, &bool)| {
        if present {
            i32::from(tag)
        } else {
            NOT_COUNTED as i32
        }
    };
    vector(tags.iter().zip(present).map(tag), device)
}

/// Integers on the device.
pub fn vector<B: Backend>(
    values: impl Iterator<Item = i32>,
    device: &B::Device,
) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = values.collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// Tensor of 1 where true, else 0.
pub fn indicator<B: Backend, const D: usize>(
    values: &[bool],
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    let values: Vec<f32> = values.iter().map(|&value| f32::from(value)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UNTAGGED;

    /// Two documents, `1 2 3` and `4 5`, and padding.
    fn rows() -> PackedBatch {
        PackedBatch {
            rows: 1,
            seq_len: 6,
            ids: vec![1, 2, 3, 4, 5, 0],
            segments: vec![0, 0, 0, 1, 1, -1],
            positions: vec![0, 1, 2, 0, 1, 0],
            tags: vec![UNTAGGED; 6],
            domains: vec![0; 6],
            counted: vec![true, true, false, true, false, false],
            bytes: vec![1; 6],
            documents: vec![vec![7, 8]],
        }
    }

    #[test]
    fn no_target_crosses_a_document() {
        let next = targets(&rows(), 0);
        assert_eq!(next.counted, [true, true, false, true, false, false]);
        assert_eq!(next.ids, [2, 3, 0, 5, 0, 0]);
        let after = targets(&rows(), 1);
        assert_eq!(after.counted, [true, false, false, false, false, false]);
        assert_eq!(after.ids[0], 3);
    }

    #[test]
    fn a_masked_target_counts_at_no_depth() {
        let mut rows = rows();
        rows.counted[1] = false;
        assert!(!targets(&rows, 0).counted[1]);
        assert!(!targets(&rows, 1).counted[0]);
    }

    #[test]
    fn totals_are_those_of_the_whole_step() {
        let step = MicroBatch::of_step(3, vec![rows(), rows()], 1);
        assert_eq!(step[0].totals, step[1].totals);
        assert_eq!(step[0].totals.targets, [6, 2]);
        assert_eq!(step[0].totals.rows, 2);
    }

    #[test]
    fn padding_and_document_ends_are_absent() {
        assert_eq!(present(&rows(), 0), [true, true, true, true, true, false]);
        assert_eq!(present(&rows(), 1), [true, true, false, true, false, false]);
    }
}
