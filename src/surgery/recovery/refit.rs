//! Down projections of a converted model, solved for so that every layer puts out what the dense model's layer does.
//!
//! The features of a token are the activations of the neurons that it visits, times their gates, and zeros for all
//! others. The change of the down projections, all experts' at once, is the least-squares solution for the residual
//! stream of the dense model after the same layer. Layer by layer, so that a layer also makes up for the errors of
//! those before it. No gradient is needed.

use burn::module::Param;
use burn::tensor::{IndexingUpdateOp, Tensor};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::least_squares::LeastSquares;
use crate::data::PackedBatch;
use crate::model::feed_forward::FeedForward;
use crate::model::feed_forward::moe::Moe;
use crate::model::matrix::Matrix;
use crate::model::routing::{Route, Surroundings};
use crate::model::{Block, CausalLm};
use crate::surgery::residual_stream::ResidualStream;

/// Smallest squared length of a state, so that nothing is divided by zero.
const LEAST: f64 = 1e-12;

/// Errors of a layer on the text that was solved on: means over tokens of `||h - g||^2 / ||g||^2`, where `h` and `g` are
/// the states after the layer in the converted and in the dense model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RefitLayer {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Error with the old down projections, after layers with new ones.
    pub before: f64,
    /// Error with the new ones.
    pub after: f64,
}

/// Solves for the down projections of every layer with experts. `told` receives the errors of each such layer.
///
/// Layers whose equations have no solution stay as they are.
pub fn refit<B: Ops>(
    teacher: &CausalLm<B>,
    mut student: CausalLm<B>,
    text: &[PackedBatch],
    penalty: f64,
    mut told: impl FnMut(RefitLayer),
) -> CausalLm<B> {
    let mut taught = ResidualStream::embed(teacher, text);
    let mut own = ResidualStream::embed(&student, text);
    let layers = std::mem::take(&mut student.layers);
    for (at, (dense, layer)) in teacher.layers.iter().zip(layers).enumerate() {
        taught.mix(dense);
        taught.transform(dense);
        own.mix(&layer);
        let layer = match solved(&layer, &own, &taught, penalty) {
            Some((moe, [before, after])) => {
                told(RefitLayer {
                    layer: at,
                    before,
                    after,
                });
                Block {
                    feed_forward: FeedForward::Moe(moe),
                    ..layer
                }
            }
            None => layer,
        };
        own.transform(&layer);
        student.layers.push(layer);
    }
    student
}

/// The experts of `layer` with other down projections, and the errors before and after.
fn solved<B: Ops>(
    layer: &Block<B>,
    own: &ResidualStream<B>,
    taught: &ResidualStream<B>,
    penalty: f64,
) -> Option<(Moe<B>, [f64; 2])> {
    let FeedForward::Moe(moe) = &layer.feed_forward else {
        return None;
    };
    let mut sums = LeastSquares::new(down(moe).dims());
    let tokens = || own.tokens().zip(taught.tokens());
    let features =
        |states: Tensor<B, 2>| features(moe, layer.post_attention_layernorm.forward(states));
    let (mut count, mut before) = (0.0, 0.0);
    for (states, expected) in tokens() {
        let features = features(states.clone());
        let weights = weights(expected.clone());
        let residuals = expected - states - B::project_saving(features.clone(), down(moe));
        let residuals = residuals * weights.clone();
        count += residuals.dims()[0] as f64;
        before += squares(residuals.clone());
        sums.add(features * weights, residuals);
    }
    let change = sums.solve(penalty)?;
    let change = Tensor::from_data(change, &moe.experts.down_proj.device());
    let moe = changed(moe.clone(), change);
    let mut after = 0.0;
    for (states, expected) in tokens() {
        let output = B::project_saving(features(states.clone()), down(&moe));
        let weights = weights(expected.clone());
        after += squares((expected - states - output) * weights);
    }
    Some((moe, [before / count, after / count]))
}

/// Weights of tokens, the inverse lengths of the dense model's states, `[tokens, 1]`: lengths differ by orders of
/// magnitude, and every token counts alike.
fn weights<B: Ops>(expected: Tensor<B, 2>) -> Tensor<B, 2> {
    let square = expected.powi_scalar(2).sum_dim(1);
    square.clamp_min(LEAST).sqrt().recip()
}

/// Down projections of the shared experts and of all routed ones, `[neurons, hidden_size]`.
fn down<B: Ops>(moe: &Moe<B>) -> Tensor<B, 2> {
    let routed = moe.experts.down_proj.val();
    let [experts, width, hidden] = routed.dims();
    let routed = routed.reshape([experts * width, hidden]);
    match &moe.shared_experts {
        Some(shared) => Tensor::cat(vec![shared.down_proj.weight.val(), routed], 0),
        None => routed,
    }
}

/// Activations of all neurons in the order of [`down`], times their gates, `[tokens, neurons]`; 0 where a token does
/// not visit them.
fn features<B: Ops>(moe: &Moe<B>, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
    let routing = moe.router.route(inputs.clone(), &Surroundings::default());
    let [experts, hidden, width] = moe.experts.gate_proj.dims();
    let [tokens, _] = inputs.dims();
    let flat = |stack: &Matrix<B, 3>| {
        stack
            .val()
            .swap_dims(0, 1)
            .reshape([hidden, experts * width])
    };
    let activations = |gate, up| {
        let gate = B::project_saving(inputs.clone(), gate);
        B::swiglu(gate, B::project_saving(inputs.clone(), up))
    };
    let routed = activations(flat(&moe.experts.gate_proj), flat(&moe.experts.up_proj));
    let gates = Tensor::zeros([tokens, experts], &inputs.device());
    let gates = gates.scatter(1, routing.indices, routing.weights, IndexingUpdateOp::Add);
    let gates = gates.reshape([tokens, experts, 1]).repeat_dim(2, width);
    let routed = routed * gates.reshape([tokens, experts * width]);
    match &moe.shared_experts {
        Some(shared) => {
            let [gate, up] = [&shared.gate_proj, &shared.up_proj].map(|it| it.weight.val());
            Tensor::cat(vec![activations(gate, up), routed], 1)
        }
        None => routed,
    }
}

/// Adds a change to the down projections, in the order of [`down`].
fn changed<B: Ops>(mut moe: Moe<B>, change: Tensor<B, 2>) -> Moe<B> {
    let sum = |old: Tensor<B, 2>, change: Tensor<B, 2>| old + change;
    let [experts, width, hidden] = moe.experts.down_proj.dims();
    let mut first = 0;
    if let Some(shared) = &mut moe.shared_experts {
        let old = shared.down_proj.weight.val();
        first = old.dims()[0];
        let new = sum(old, change.clone().narrow(0, 0, first));
        shared.down_proj.weight = Matrix::Dense(Param::from_tensor(new));
    }
    let old = moe
        .experts
        .down_proj
        .val()
        .reshape([experts * width, hidden]);
    let new = sum(old, change.narrow(0, first, experts * width));
    let new = new.reshape([experts, width, hidden]);
    moe.experts.down_proj = Matrix::Dense(Param::from_tensor(new));
    moe
}

fn squares<B: Ops>(values: Tensor<B, 2>) -> f64 {
    // rows first, so that a sum over many tokens keeps its digits
    let rows = values.powi_scalar(2).sum_dim(1).into_data();
    rows.iter::<f64>().sum()
}

#[cfg(test)]
mod tests;
