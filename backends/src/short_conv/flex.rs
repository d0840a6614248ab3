//! Short convolution with rows in parallel; all taps of a row in one pass.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::attention::AttentionMask;
use crate::flex::fresh::new_rows;
use crate::flex::matrix::MatRef;
use crate::flex::rows::{View, rows_per_task, tensor};
use crate::flex::simd::{kernel, sigmoid};
use crate::flex::team;
use crate::linear_attention::runs;

/// Inputs of the convolution, in memory.
struct Conv {
    batch: usize,
    seq: usize,
    channels: usize,
    taps: usize,
    padded: View<2>,
    /// Weight, `[taps, channels]`.
    weight: Vec<f32>,
    /// Number of earlier tokens of each token's document, at most `taps - 1`, `[batch * seq]`; empty if no document
    /// boundary is in reach.
    reach: Vec<usize>,
}

impl Conv {
    fn new(padded: Tensor<Flex, 3>, weight: Tensor<Flex, 2>, mask: &AttentionMask<Flex>) -> Self {
        let [batch, rows, channels] = padded.dims();
        let [_, taps] = weight.dims();
        let weight: Vec<f32> = weight.transpose().into_data().iter::<f32>().collect();
        let seq = rows + 1 - taps;
        let reach = runs(mask).map(|documents| {
            let rows = documents.into_iter().flatten();
            let of_run = |run: std::ops::Range<usize>| {
                let first = run.start == 0;
                (0..run.len()).map(move |at| if first { taps - 1 } else { at.min(taps - 1) })
            };
            rows.flat_map(of_run).collect()
        });
        Self {
            batch,
            seq,
            channels,
            taps,
            padded: View::rows(padded.reshape([batch * rows, channels])),
            weight,
            reach: reach.unwrap_or_default(),
        }
    }

    /// First row of `padded` that an output reads, and its first tap.
    fn seen(&self, output: usize) -> (usize, usize) {
        let (item, at) = (output / self.seq, output % self.seq);
        let hidden = match self.reach.get(output) {
            Some(reach) => self.taps - 1 - reach,
            None => 0,
        };
        (item * (self.seq + self.taps - 1) + at + hidden, hidden)
    }

    /// Convolution of one token, before the activation.
    fn sum(&self, padded: MatRef<'_>, output: usize, out: &mut [f32]) {
        let (first, hidden) = self.seen(output);
        out.fill(0.0);
        for (back, weight) in self
            .weight
            .chunks_exact(self.channels)
            .skip(hidden)
            .enumerate()
        {
            multiply_add(out, weight, padded.row(first + back));
        }
    }
}

/// See [`Ops::short_conv`](crate::Ops::short_conv).
pub(crate) fn short_conv(
    padded: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    mask: &AttentionMask<Flex>,
) -> Tensor<Flex, 3> {
    let conv = Conv::new(padded, weight, mask);
    let matrix = conv.padded.matrix();
    let [out] = new_rows(conv.batch * conv.seq, [conv.channels], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(conv.channels).enumerate() {
            conv.sum(matrix, first + row, out);
            activate(out);
        }
    });
    tensor(out, [conv.batch, conv.seq, conv.channels])
}

/// See [`ByHand::backward`](super::ByHand::backward).
pub(crate) fn short_conv_backward(
    padded: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    mask: &AttentionMask<Flex>,
    grad: Tensor<Flex, 3>,
) -> (Tensor<Flex, 3>, Tensor<Flex, 2>) {
    let conv = Conv::new(padded, weight, mask);
    let (channels, taps) = (conv.channels, conv.taps);
    let outputs = conv.batch * conv.seq;
    let grad = View::rows(grad.reshape([outputs, channels]));
    let (grad, matrix) = (grad.matrix(), conv.padded.matrix());

    // the gradient before the activation, then that of the weights, summed over tasks in order
    let mut inner = vec![0.0; outputs * channels];
    let rows = rows_per_task(channels);
    let pieces = inner.chunks_mut((rows * channels).max(1));
    let mut sums = vec![0.0; pieces.len() * taps * channels];
    let tasks = pieces
        .zip(sums.chunks_mut((taps * channels).max(1)))
        .enumerate()
        .collect();
    team::each(
        tasks,
        || (),
        |(), (task, (inner, sums)): (usize, (&mut [f32], &mut [f32]))| {
            for (row, inner) in inner.chunks_exact_mut(channels).enumerate() {
                let output = task * rows + row;
                conv.sum(matrix, output, inner);
                activate_backward(inner, grad.row(output));
                let (first, hidden) = conv.seen(output);
                let taps = sums.chunks_exact_mut(channels).skip(hidden);
                for (back, sum) in taps.enumerate() {
                    multiply_add(sum, inner, matrix.row(first + back));
                }
            }
        },
    );
    let mut weight_grad = vec![0.0; taps * channels];
    for sums in sums.chunks_exact((taps * channels).max(1)) {
        for (total, sum) in weight_grad.iter_mut().zip(sums) {
            *total += sum;
        }
    }

    let padded_seq = conv.seq + taps - 1;
    let [padded_grad] = new_rows(conv.batch * padded_seq, [channels], |first, [out]| {
        for (row, out) in out.chunks_exact_mut(channels).enumerate() {
            let (item, at) = ((first + row) / padded_seq, (first + row) % padded_seq);
            for (tap, weight) in conv.weight.chunks_exact(channels).enumerate() {
                let Some(token) = at.checked_sub(tap).filter(|token| *token < conv.seq) else {
                    continue;
                };
                let output = item * conv.seq + token;
                if conv.seen(output).1 <= tap {
                    let inner = &inner[output * channels..][..channels];
                    multiply_add(out, weight, inner);
                }
            }
        }
    });
    (
        tensor(padded_grad, [conv.batch, padded_seq, channels]),
        tensor(weight_grad, [taps, channels]).transpose(),
    )
}

kernel! {
    /// `out += left * right`.
    fn multiply_add<'a>(out: &'a mut [f32], left: &'a [f32], right: &'a [f32]) {
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            *out += left * right;
        }
    }
}

kernel! {
    fn activate<'a>(values: &'a mut [f32]) {
        for value in values.iter_mut() {
            *value *= sigmoid(*value);
        }
    }
}

kernel! {
    /// Replaces values before the activation by their gradient.
    fn activate_backward<'a>(values: &'a mut [f32], grad: &'a [f32]) {
        for (value, grad) in values.iter_mut().zip(grad) {
            let open = sigmoid(*value);
            *value = grad * open * (1.0 + *value * (1.0 - open));
        }
    }
}
