//! Operations of mixers. Some lengths and widths are multiples of four and some are not, since kernels read several
//! numbers at once where they can.

use burn::tensor::Tensor;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::forgetting::Forgetting;
use darkhorse_backends::heads::HeadSharing;
use darkhorse_backends::unit::UnitEps;

use super::{Trained, floats, integers, passes, values};

/// Mask of two rows with consecutive documents of seven tokens.
fn documents<B: Trained>(seq: usize) -> AttentionMask<B> {
    let numbers = (0..2 * seq as i64).map(|at| at / 7).collect();
    AttentionMask::Documents(integers(numbers, [2, seq]))
}

fn forgetting_of<B: Trained>(new: usize, seq: usize, mask: &AttentionMask<B>) -> Vec<Vec<f32>> {
    let query = floats::<B, 4>([2, new, 4, 8], 1);
    let key = floats::<B, 4>([2, seq, 2, 8], 2);
    let value = floats::<B, 4>([2, seq, 4, 6], 3);
    let gates = floats::<B, 3>([2, seq, 4], 4);
    let input = Forgetting {
        query: query.clone(),
        key: key.clone(),
        value: value.clone(),
        kept: gates.clone().sub_scalar(1.0).mul_scalar(0.2).cumsum(1),
    };
    let output = B::forgetting_attention(input, mask, 0.3);
    passes(output, gradients!(query, key, value, gates))
}

pub(super) fn forgetting<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for seq in [13, 16] {
        all.extend(forgetting_of::<B>(seq, seq, &AttentionMask::Causal));
        all.extend(forgetting_of::<B>(seq, seq, &documents(seq)));
    }
    all
}

/// Forgetting attention of the newest tokens over all, as in decoding.
pub(super) fn forgetting_token<B: Trained>() -> Vec<Vec<f32>> {
    let cases = [[1, 1], [1, 16], [1, 17], [4, 16]];
    let of_case = |[new, seq]: [usize; 2]| forgetting_of::<B>(new, seq, &AttentionMask::Causal);
    cases.into_iter().flat_map(of_case).collect()
}

pub(super) fn short_convolution<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (seq, channels) in [(1, 8), (13, 6), (16, 8)] {
        for mask in [AttentionMask::Causal, documents(seq)] {
            let padded = floats::<B, 3>([2, seq + 3, channels], 1);
            let weight = floats::<B, 2>([channels, 4], 2);
            let output = B::short_conv(padded.clone(), weight.clone(), &mask);
            all.extend(passes(output, gradients!(padded, weight)));
        }
    }
    all
}

pub(super) fn rotated_halves<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (seq, half) in [(1, 4), (5, 3), (8, 4)] {
        let input = floats::<B, 4>([2, seq, 3, 12], 1);
        let angles = |seed| floats::<B, 3>([2, seq, half], seed).detach();
        let output = B::rope_halves(input.clone(), angles(2), angles(3));
        all.extend(passes(output, gradients!(input)));
    }
    all
}

pub(super) fn unit_rows<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for shape in [[1, 8], [9, 6], [12, 16]] {
        for eps in [UnitEps::Length(1e-5), UnitEps::Square(1e-6)] {
            let input = floats::<B, 2>(shape, 1);
            let output = B::unit_rows(input.clone(), eps);
            all.extend(passes(output, gradients!(input)));
        }
    }
    all
}

pub(super) fn shared_heads<B: Trained>() -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (seq, count) in [(1, 2), (5, 1), (8, 3)] {
        for sharing in [HeadSharing::Tiled, HeadSharing::Grouped] {
            let heads = floats::<B, 4>([2, seq, count, 8], 1);
            let output: Tensor<B, 4> = B::share_heads(heads.clone(), 4, sharing);
            all.extend(passes(output, gradients!(heads)));
        }
    }
    all
}
