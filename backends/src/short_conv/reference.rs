//! The definition.

use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};

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
    let taps = (0..taps).map(|tap| {
        let seen = padded.clone().narrow(1, tap, seq);
        let factor = weight.clone().narrow(1, tap, 1).reshape([1, 1, channels]);
        let seen = match mask {
            AttentionMask::Causal => seen,
            AttentionMask::Documents(documents) => {
                let lag = taps - 1 - tap;
                seen.mask_fill(
                    foreign(documents, lag)
                        .unsqueeze_dim::<3>(2)
                        .expand([batch, seq, channels]),
                    0.0,
                )
            }
        };
        seen * factor
    });
    let sum = taps.reduce(|sum, tap| sum + tap);
    silu(sum.expect("a convolution has taps"))
}

/// True where the token `lag` before is not of the same run of equal numbers, `[batch, seq]`. Before the
/// row stands what came before its first document.
fn foreign<B: Backend>(documents: &Tensor<B, 2, Int>, lag: usize) -> Tensor<B, 2, Bool> {
    let [batch, seq] = documents.dims();
    let first = documents.clone().narrow(1, 0, 1);
    let before = Tensor::cat(vec![first, documents.clone()], 1).narrow(1, 0, seq);
    let begins = before.not_equal(documents.clone());
    let same = Tensor::<B, 2, Bool>::full([batch, seq], false, &documents.device());
    (0..lag.min(seq)).fold(same, |foreign, back| {
        let padding = Tensor::<B, 2, Bool>::full([batch, back], false, &documents.device());
        let step = match back {
            0 => begins.clone(),
            _ => Tensor::cat(vec![padding, begins.clone().narrow(1, 0, seq - back)], 1),
        };
        foreign.bool_or(step)
    })
}
