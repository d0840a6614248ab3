//! Operations that GPUs compute with kernels of this crate.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::columns::Matrix;
use super::few;
use crate::attention::AttentionOptions;
use crate::autodiff::{primitive, wrap};
use crate::experts::cube::Stacks;
use crate::paged::Past;
use crate::paged::cube::Sequence;
use crate::quantized::Quantized;
use crate::{Ops, experts, norm, paged, quantized, top_k};

impl<R, F, I, BT> Ops for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn project_quantized(input: Tensor<Self, 2>, weight: Quantized<Self, 2>) -> Tensor<Self, 2> {
        if few(input.dims()[0]) {
            wrap(quantized::cube::project(primitive(input), blocks(weight)))
        } else {
            quantized::reference::project(input, weight)
        }
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
        let quantized::Projections { gate, up, down } = projections;
        let [gate, up, down] = [gate, up, down].map(blocks);
        let stacks = Stacks { gate, up, down };
        visit(input, stacks, indices, weights)
    }

    fn rms_norm(input: Tensor<Self, 2>, weight: Tensor<Self, 1>, eps: f64) -> Tensor<Self, 2> {
        if !few(input.dims()[0]) {
            return norm::reference::rms_norm(input, weight, eps);
        }
        let (input, weight) = (primitive(input), primitive(weight));
        wrap(norm::cube::rms_norm(input, weight, eps))
    }

    fn paged_attention(
        query: Tensor<Self, 3>,
        pasts: &[Past<'_, Self>],
        options: AttentionOptions,
    ) -> Tensor<Self, 3> {
        if !paged::cube::fits(pasts) {
            return paged::reference::paged_attention(query, pasts, options);
        }
        let pasts = pasts.iter().filter(|past| past.new > 0);
        let sequences = pasts.map(|past| Sequence::new(past, options)).collect();
        let query = primitive(query);
        wrap(paged::cube::paged_attention(query, sequences, options))
    }

    fn top_k(scores: Tensor<Self, 2>, k: usize) -> Tensor<Self, 2, Int> {
        if !top_k::cube::fits(scores.dims(), k) {
            return top_k::reference::top_k(scores, k);
        }
        let chosen = top_k::cube::top_k(primitive(scores), k, I::dtype());
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
        let experts::Projections { gate, up, down } = projections;
        let [gate, up, down] = [gate, up, down].map(|stack| Matrix::numbers(primitive(stack)));
        visit(input, Stacks { gate, up, down }, indices, weights)
    }
}

/// Computes experts whose stacks have any form.
fn visit<R, B>(
    input: Tensor<B, 2>,
    stacks: Stacks<R>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 2>
where
    R: CubeRuntime,
    B: Backend<FloatTensorPrimitive = CubeTensor<R>, IntTensorPrimitive = CubeTensor<R>>,
{
    let indices = indices.into_primitive();
    let [input, weights] = [input, weights].map(primitive);
    wrap(experts::cube::experts(input, stacks, indices, weights))
}

fn blocks<R, B, const D: usize>(weight: Quantized<B, D>) -> Matrix<R>
where
    R: CubeRuntime,
    B: Backend<FloatTensorPrimitive = CubeTensor<R>, IntTensorPrimitive = CubeTensor<R>>,
{
    let Quantized {
        values,
        scales,
        bits,
    } = weight;
    Matrix::blocks(values.into_primitive(), primitive(scales), bits)
}
