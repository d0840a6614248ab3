//! The kernels under burn-fusion: each call is one operation of the stream, computed by the inner backend.

use burn::tensor::{DType, Element, Int, Tensor};
use burn_fusion::{Fusion, FusionBackend};

use super::stream::{Inputs, Streamed, append, floats, integers};
use super::{few, linear_attention, pages};
use crate::attention::AttentionOptions;
use crate::autodiff::{primitive, wrap};
use crate::linear_attention::ByHand;
use crate::paged::Past;
use crate::quantized::{Bits, Quantized};
use crate::{Ops, experts, norm, paged, quantized, top_k};

impl<B: FusionBackend + Ops> Ops for Fusion<B> {
    fn project_quantized(input: Tensor<Self, 2>, weight: Quantized<Self, 2>) -> Tensor<Self, 2> {
        let ([rows, _], dtype) = (input.dims(), input.dtype());
        if !few(rows) {
            return quantized::reference::project(input, weight);
        }
        let (output, bits) = (([rows, weight.dims()[1]], dtype), weight.bits);
        let mut inputs = vec![primitive(input)];
        inputs.extend(streamed(weight));
        let product = append::<B, 2>("project_quantized", inputs, output, move |inputs| {
            let input = inputs.floats();
            floats(B::project_quantized(input, blocks(inputs, bits)))
        });
        wrap(product)
    }

    fn experts_quantized(
        input: Tensor<Self, 2>,
        projections: quantized::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if !quantized::cube::fits(&input, &projections) {
            return quantized::reference::experts(input, projections, indices, weights);
        }
        let output = (input.dims(), input.dtype());
        let quantized::Projections { gate, up, down } = projections;
        let bits = [&gate, &up, &down].map(|stack| stack.bits);
        let [input, weights] = [input, weights].map(primitive);
        let mut inputs = vec![input, indices.into_primitive(), weights];
        inputs.extend([gate, up, down].into_iter().flat_map(streamed));
        let sum = append::<B, 2>("experts_quantized", inputs, output, move |inputs| {
            let (input, indices, weights) = (inputs.floats(), inputs.integers(), inputs.floats());
            let [gate, up, down] = bits.map(|bits| blocks(inputs, bits));
            let projections = quantized::Projections { gate, up, down };
            floats(B::experts_quantized(input, projections, indices, weights))
        });
        wrap(sum)
    }

    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        if !few(input.dims()[0]) {
            return norm::reference::rms_norm(input, weight, eps);
        }
        let output = (input.dims(), input.dtype());
        let inputs = vec![primitive(input), primitive(weight)];
        let normalized = append::<B, 2>("rms_norm", inputs, output, move |inputs| {
            floats(B::rms_norm(inputs.floats(), inputs.floats(), eps))
        });
        wrap(normalized)
    }

    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        if paged::cube::fits(pasts) {
            pages::paged_attention(query, pasts, options)
        } else {
            paged::reference::paged_attention(query, pasts, options)
        }
    }

    fn linear_attention_by_hand(_dtype: DType) -> ByHand<Self> {
        ByHand {
            forward: linear_attention::forward,
            backward: linear_attention::backward,
        }
    }

    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        let [tokens, _] = scores.dims();
        if !top_k::cube::fits(scores.dims(), k) {
            return top_k::reference::top_k(scores, k);
        }
        let (inputs, output) = (vec![primitive(scores)], ([tokens, k], B::IntElem::dtype()));
        let chosen = append::<B, 2>("top_k", inputs, output, move |inputs| {
            integers(B::top_k(inputs.floats(), k))
        });
        Tensor::from_primitive(chosen)
    }

    fn experts(
        input: Tensor<Self, 2>,
        projections: experts::Projections<Self>,
        indices: Tensor<Self, 2, Int>,
        weights: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        if !experts::cube::fits(&input, &projections) {
            return experts::grouped::experts(input, projections, indices, weights);
        }
        let output = (input.dims(), input.dtype());
        let experts::Projections { gate, up, down } = projections;
        let [input, weights] = [input, weights].map(primitive);
        let mut inputs = vec![input, indices.into_primitive(), weights];
        inputs.extend([gate, up, down].map(primitive));
        let sum = append::<B, 2>("experts", inputs, output, |inputs| {
            let (input, indices, weights) = (inputs.floats(), inputs.integers(), inputs.floats());
            let [gate, up, down] = [(); 3].map(|()| inputs.floats());
            let projections = experts::Projections { gate, up, down };
            floats(B::experts(input, projections, indices, weights))
        });
        wrap(sum)
    }
}

/// Words and scales as inputs of the stream.
fn streamed<B: FusionBackend, const D: usize>(weight: Quantized<Fusion<B>, D>) -> [Streamed<B>; 2] {
    [weight.values.into_primitive(), primitive(weight.scales)]
}

/// Reads words and scales from the inputs.
fn blocks<B: FusionBackend, const D: usize>(
    inputs: &mut Inputs<'_, B>,
    bits: Bits,
) -> Quantized<B, D> {
    Quantized {
        values: inputs.integers(),
        scales: inputs.floats(),
        bits,
    }
}
