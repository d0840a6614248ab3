//! The definition: every expert sees every token, and the gates of those not chosen are zero. A choice of none
//! has a gate that meets no expert.

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
    // the last column is of no expert
    let gates = Tensor::zeros([tokens, experts + 1], &input.device()).scatter(
        1,
        indices.clamp_max(experts as i64),
        weights,
        burn::tensor::IndexingUpdateOp::Add,
    );
    let gates = gates.narrow(1, 0, experts);

    let input = input.unsqueeze::<3>();
    let inner = silu(input.clone().times(projections.gate)) * input.times(projections.up);
    let outputs = inner.times(projections.down);
    (outputs * gates.swap_dims(0, 1).unsqueeze_dim(2))
        .sum_dim(0)
        .reshape([tokens, hidden])
}
