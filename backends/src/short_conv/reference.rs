//! Reference implementation.

use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use crate::attention::AttentionMask;

/// See [`Ops::short_conv`](crate::Ops::short_conv).
pub fn short_conv<B: Backend>(
    padded: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    mask: &AttentionMask<B>,
) -> Tensor<B, 3> {
    let [batch, rows, channels] = padded.dims();
    let [_, taps] = weight.dims();
    let seq = rows + 1 - taps;
    let numbered = match mask {
        AttentionMask::Causal => None,
        AttentionMask::Documents(documents) => Some(numbered(documents.clone(), taps - 1)),
    };
    let sum = (0..taps).map(|tap| {
        let seen = padded.clone().narrow(1, tap, seq);
        let factor = weight.clone().narrow(1, tap, 1).reshape([1, 1, channels]);
        let seen = match &numbered {
            None => seen,
            Some(numbered) => {
                let own = numbered.clone().narrow(1, taps - 1, seq);
                let foreign = numbered.clone().narrow(1, tap, seq).not_equal(own);
                seen.mask_fill(foreign.expand([batch, seq, channels]), 0.0)
            }
        };
        seen * factor
    });
    let sum = sum.reduce(|sum, tap| sum + tap);
    silu(sum.expect("a convolution has taps"))
}

/// Index of each token's document within its row, `[batch, before + seq, 1]`. The padding belongs to the first
/// document.
fn numbered<B: Backend>(documents: Tensor<B, 2, Int>, before: usize) -> Tensor<B, 3, Int> {
    let [batch, seq] = documents.dims();
    let first = documents.clone().narrow(1, 0, 1);
    let previous = Tensor::cat(vec![first, documents.clone()], 1).narrow(1, 0, seq);
    let runs = previous.not_equal(documents).int().cumsum(1);
    let before = Tensor::zeros([batch, before], &runs.device());
    Tensor::cat(vec![before, runs], 1).unsqueeze_dim(2)
}
