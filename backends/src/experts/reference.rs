//! The definition: every expert sees every token, and the gates of those not chosen are zero.

use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::Projections;
use crate::product::Times;

/// See [`Ops::experts`](crate::Ops::experts).
pub fn experts<B: Backend>(
    input: Tensor<B, 2>,
    projections: Projections<B>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let [tokens, hidden] = input.dims();
    let [experts, _, _] = projections.gate.dims();
    let gates = Tensor::zeros([tokens, experts], &input.device()).scatter(
        1,
        indices,
        weights,
        burn::tensor::IndexingUpdateOp::Add,
    );

    let input = input.unsqueeze::<3>();
    let inner = silu(input.clone().times(projections.gate)) * input.times(projections.up);
    let outputs = inner.times(projections.down);
    (outputs * gates.swap_dims(0, 1).unsqueeze_dim(2))
        .sum_dim(0)
        .reshape([tokens, hidden])
}
