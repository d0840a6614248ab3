//! A frozen matrix with a trained low-rank update (LoRA).
//!
//! Hu et al. (<https://arxiv.org/abs/2106.09685>), section 4.1.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use darkhorse_backends::product::Times;

/// The matrix `W + s A B`.
///
/// Where:
/// - `W` is the frozen `base`, `[.., in, out]`
/// - `A` is `lora_a`, `[.., in, rank]`, and `B` is `lora_b`, `[.., rank, out]`
/// - `s` is `alpha / rank`
#[derive(Module, Debug)]
pub struct Adapted<B: Backend, const D: usize> {
    /// The matrix before adaptation; not trained.
    pub base: Param<Tensor<B, D>>,
    /// Trained factor `A`.
    pub lora_a: Param<Tensor<B, D>>,
    /// Trained factor `B`, zero at the start.
    pub lora_b: Param<Tensor<B, D>>,
    #[module(skip)]
    scale: f64,
}

impl<B: Backend, const D: usize> Adapted<B, D> {
    /// Adapts `base`, which stops being trained, by `scale * lora_a * lora_b`.
    pub fn new(
        base: Param<Tensor<B, D>>,
        [lora_a, lora_b]: [Param<Tensor<B, D>>; 2],
        scale: f64,
    ) -> Self {
        Self {
            base: base.set_require_grad(false),
            lora_a,
            lora_b,
            scale,
        }
    }

    /// The sum `W + s A B`. Its gradient has the size of `W`.
    pub fn sum(&self) -> Tensor<B, D> {
        self.base.val() + self.lora_a.val().times(self.scaled_b())
    }

    fn scaled_b(&self) -> Tensor<B, D> {
        self.lora_b.val().mul_scalar(self.scale)
    }
}

impl<B: Ops> Adapted<B, 2> {
    /// The update's share of the product, `s x A B`. Computes no matrix of the size of `W`, neither here nor for the
    /// gradients.
    ///
    /// # Shapes
    ///
    /// - input: `[tokens, in]`, output: `[tokens, out]`
    pub fn update(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let inner = B::project(input, self.lora_a.val());
        B::project(inner, self.scaled_b())
    }
}
