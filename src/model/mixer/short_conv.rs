//! Causal depthwise convolution with SiLU, whose last inputs are carried from one piece of a sequence to the next.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;

use crate::model::init::Initializers;

/// `y_t = silu(sum_j w_j x_(t - taps + 1 + j))`, separately for every channel.
#[derive(Module, Debug)]
pub struct ShortConv<B: Backend> {
    /// Weight, oldest tap first, `[channels, taps]`.
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> ShortConv<B> {
    pub(super) fn init(
        channels: usize,
        taps: usize,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let bound = (taps as f64).powf(-0.5);
        Self {
            weight: init.uniform([channels, taps], -bound..bound, device),
        }
    }
}

impl<B: Ops> ShortConv<B> {
    /// Convolves the next positions, preceded by the inputs `tail` (`None`: zeros), and also returns the tail for
    /// the positions after them.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, seq, channels]`, tail: `[batch, taps - 1, channels]`
    pub fn forward(
        &self,
        input: Tensor<B, 3>,
        tail: Option<Tensor<B, 3>>,
        mask: &AttentionMask<B>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let padded = self.padded(input, tail);
        let tail = self.tail(padded.clone());
        (B::short_conv(padded, self.weight.val(), mask), tail)
    }

    /// Prepends the tail to the inputs.
    pub(super) fn padded(&self, input: Tensor<B, 3>, tail: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        let [channels, taps] = self.weight.dims();
        let [batch, _, _] = input.dims();
        if taps == 1 {
            return input;
        }
        let tail = tail.unwrap_or_else(|| {
            Tensor::zeros(
                [batch, taps - 1, channels],
                (&input.device(), input.dtype()),
            )
        });
        Tensor::cat(vec![tail, input], 1)
    }

    /// The last `taps - 1` inputs.
    pub(super) fn tail(&self, padded: Tensor<B, 3>) -> Tensor<B, 3> {
        let [_, taps] = self.weight.dims();
        let [_, rows, _] = padded.dims();
        padded.narrow(1, rows + 1 - taps, taps - 1)
    }
}
