//! Reference implementation: every expert processes every token, and the gates of experts that were not chosen are
//! zero. The gate of a choice of no expert falls into an extra column.

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
    // the last column collects choices of no expert
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
