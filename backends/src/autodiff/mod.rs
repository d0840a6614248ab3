//! Autodiff: each operation is one node of the graph that uses the inner backend's backward pass, instead of one
//! node per burn operation of its reference.

mod heads;
mod node;
mod pages;
mod sequence;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor};

use crate::adamw::{AdamWStep, Moments};
use crate::attention::{self, AttentionMask, AttentionOptions};
use crate::experts::{self, Needed, Projections};
use crate::forgetting::Forgetting;
use crate::heads::HeadSharing;
use crate::linear_attention::{Attended, LinearAttention, LinearAttentionOptions};
use crate::ops::Ops;
use crate::paged::{Page, Past};
use crate::unit::UnitEps;
use node::{Derivative, below, integers, record};
pub(crate) use node::{primitive, wrap};

impl<B: Ops, C: CheckpointStrategy> Ops for Autodiff<B, C> {
    fn project(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let (input, weight) = (primitive(input), primitive(weight));
        let [x, w] = [&input, &weight].map(below);
        record::<B, C, _, 2, 2>([&input, &weight], |keep| {
            if !keep {
                return (B::project(x, w), None);
            }
            let output = B::project_saving(x.clone(), w.clone());
            (
                output,
                Some(Linear {
                    input: x,
                    weight: w,
                }),
            )
        })
    }

    fn project_transposed(input: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        Self::project(input, weight.transpose())
    }

    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        let (input, weight) = (primitive(input), primitive(weight));
        let (x, w) = (below(&input), below(&weight));
        record::<B, C, _, 2, 2>([&input, &weight], |keep| {
            let output = B::rms_norm(x.clone(), w.clone(), eps);
            (
                output,
                keep.then_some(RmsNorm {
                    input: x,
                    weight: w,
                    eps,
                }),
            )
        })
    }

    fn swiglu(gate: Tensor<Self, 2>, up: Tensor<Self, 2>) -> Tensor<Self, 2> {
        let (gate, up) = (primitive(gate), primitive(up));
        let [g, u] = [&gate, &up].map(below);
        record::<B, C, _, 2, 2>([&gate, &up], |keep| {
            let output = B::swiglu(g.clone(), u.clone());
            (output, keep.then_some(SwiGlu { gate: g, up: u }))
        })
    }

    fn rope(input: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let input = primitive(input);
        let (x, cos, sin) = (
            below(&input),
            below(&primitive(cos)),
            below(&primitive(sin)),
        );
        record::<B, C, _, 1, 4>([&input], |keep| {
            let output = B::rope(x, cos.clone(), sin.clone());
            (output, keep.then_some(Rope { cos, sin }))
        })
    }

    fn rope_halves(
        input: Tensor<Self, 4>,
        cos: Tensor<Self, 3>,
        sin: Tensor<Self, 3>,
    ) -> Tensor<Self, 4> {
        sequence::rope_halves(input, cos, sin)
    }

    fn unit_rows(input: Tensor<Self, 2>, eps: UnitEps) -> Tensor<Self, 2> {
        sequence::unit_rows(input, eps)
    }

    fn causal_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &AttentionMask<Self>,
        options: AttentionOptions,
    ) -> Tensor<Self, 4> {
        let parents = [query, key, value].map(primitive);
        let [q, k, v] = parents.each_ref().map(below);
        let mask = match mask {
            AttentionMask::Causal => AttentionMask::Causal,
            AttentionMask::Documents(documents) => {
                AttentionMask::Documents(integers(documents.clone()))
            }
        };
        record::<B, C, _, 3, 4>(parents.each_ref(), |keep| {
            if !keep {
                return (B::causal_attention(q, k, v, &mask, options), None);
            }
            let saved = B::causal_attention_saving(q, k, v, &mask, options);
            (saved.output.clone(), Some(saved))
        })
    }

    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        pages::paged_attention(query, pasts, options)
    }

    fn write_rows(page: Page<Self>, at: usize, rows: Tensor<Self, 3>) -> Page<Self> {
        pages::write_rows(page, at, rows)
    }

    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        Tensor::from_primitive(B::top_k(below(&primitive(scores)), k).into_primitive())
    }

    fn experts(
        input: Tensor<Self, 2>,
        projections: Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let Projections { gate, up, down } = projections;
        let (input, weights) = (primitive(input), primitive(weights));
        let stacks = [gate, up, down].map(primitive);
        let [x, w] = [&input, &weights].map(below);
        let [gate, up, down] = stacks.each_ref().map(below);
        let (projections, indices) = (Projections { gate, up, down }, integers(indices));

        let [gate, up, down] = &stacks;
        record::<B, C, _, 5, 2>([&input, gate, up, down, &weights], |keep| {
            if !keep {
                return (B::experts(x, projections, indices, w), None);
            }
            let (output, saved) = B::experts_saving(x, projections, indices, w);
            (output, Some(saved))
        })
    }

    fn cross_entropy(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        let logits = primitive(logits);
        let (values, targets) = (below(&logits), integers(targets));
        record::<B, C, _, 1, 1>([&logits], |keep| {
            if !keep {
                return (B::cross_entropy(values, targets), None);
            }
            let (losses, log_sum_exp) = B::cross_entropy_saving(values.clone(), targets.clone());
            (
                losses,
                Some(CrossEntropy {
                    logits: values,
                    targets,
                    log_sum_exp,
                }),
            )
        })
    }

    fn linear_attention(
        input: LinearAttention<Self>,
        options: LinearAttentionOptions,
        mask: &AttentionMask<Self>,
    ) -> Attended<Self> {
        sequence::linear_attention(input, options, mask)
    }

    fn short_conv(
        padded: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        mask: &AttentionMask<Self>,
    ) -> Tensor<Self, 3> {
        sequence::short_conv(padded, weight, mask)
    }

    fn forgetting_attention(
        input: Forgetting<Self>,
        mask: &AttentionMask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        sequence::forgetting_attention(input, mask, scale)
    }

    fn swap_heads(input: Tensor<Self, 4>) -> Tensor<Self, 4> {
        heads::swap_heads(input)
    }

    fn share_heads(heads: Tensor<Self, 4>, each: usize, sharing: HeadSharing) -> Tensor<Self, 4> {
        heads::share_heads(heads, each, sharing)
    }

    fn largest(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2> {
        Tensor::from_inner(B::largest(scores.inner(), k))
    }

    fn adamw(
        parameter: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: Moments<Self>,
        step: &AdamWStep,
    ) -> (Tensor<Self, 1>, Moments<Self>) {
        let Moments { first, second } = moments;
        // Inner tensors, without handles of the graph, so that they can be overwritten in place.
        let [parameter, gradient, first, second] =
            [parameter, gradient, first, second].map(Tensor::inner);
        let (parameter, moments) = B::adamw(parameter, gradient, Moments { first, second }, step);
        let [first, second] = [moments.first, moments.second].map(Tensor::from_inner);
        (Tensor::from_inner(parameter), Moments { first, second })
    }
}

#[derive(Debug, Clone)]
struct Linear<B: Backend> {
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
}

impl<B: Ops> Derivative<B, 2> for Linear<B> {
    fn gradients(self, grad: FloatTensor<B>, needed: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::project_backward(self.input, self.weight, wrap(grad), needed)
            .map(|grad| grad.map(primitive))
    }
}

#[derive(Debug, Clone)]
struct RmsNorm<B: Backend> {
    input: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    eps: f64,
}

impl<B: Ops> Derivative<B, 2> for RmsNorm<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        let (input, weight) = B::rms_norm_backward(self.input, self.weight, self.eps, wrap(grad));
        [Some(primitive(input)), Some(primitive(weight))]
    }
}

#[derive(Debug, Clone)]
struct SwiGlu<B: Backend> {
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
}

impl<B: Ops> Derivative<B, 2> for SwiGlu<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::swiglu_backward(self.gate, self.up, wrap(grad)).map(|grad| Some(primitive(grad)))
    }
}

#[derive(Debug, Clone)]
struct Rope<B: Backend> {
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
}

impl<B: Ops> Derivative<B, 1> for Rope<B> {
    /// The transpose of a rotation is the rotation by the negative angle.
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [Some(primitive(B::rope(
            wrap(grad),
            self.cos,
            self.sin.neg(),
        )))]
    }
}

impl<B: Ops> Derivative<B, 3> for attention::Saved<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        B::causal_attention_backward(self, wrap(grad)).map(|grad| Some(primitive(grad)))
    }
}

impl<B: Ops> Derivative<B, 5> for experts::Saved<B> {
    fn gradients(self, grad: FloatTensor<B>, needed: [bool; 5]) -> [Option<FloatTensor<B>>; 5] {
        let [input, gate, up, down, weights] = needed;
        let needed = Needed {
            input,
            projections: gate || up || down,
            weights,
        };
        let experts::Gradients {
            input,
            projections,
            weights,
        } = B::experts_backward(self, wrap(grad), needed);
        let [gate, up, down] = match projections {
            Some(Projections { gate, up, down }) => {
                [gate, up, down].map(|grad| Some(primitive(grad)))
            }
            None => [const { None }; 3],
        };
        [input.map(primitive), gate, up, down, weights.map(primitive)]
    }
}

#[derive(Debug, Clone)]
struct CrossEntropy<B: Backend> {
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    log_sum_exp: Tensor<B, 1>,
}

impl<B: Ops> Derivative<B, 1> for CrossEntropy<B> {
    fn gradients(self, grad: FloatTensor<B>, _: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        let Self {
            logits,
            targets,
            log_sum_exp,
        } = self;
        let grad = B::cross_entropy_backward(logits, targets, log_sum_exp, wrap(grad));
        [Some(primitive(grad))]
    }
}
