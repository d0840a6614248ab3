//! Mitosis and the optimizer: gradients by expert, and inheritance of moments.

use burn::module::{Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use crate::model::CausalLm;
use crate::model::feed_forward::experts::Experts;
use crate::model::matrix::Matrix;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::model::routing::growth::Change;
use crate::training::optimizer::{AdamW, Along};
use crate::training::trainee::TrainingBackend;

/// Trained parameters of a layer with one slice per expert.
struct Shares {
    /// Parameters `[experts, .., ..]`.
    experts: Vec<ParamId>,
    /// Parameters `[.., slots]`, with their number of slots.
    slots: Vec<(ParamId, usize)>,
    count: usize,
}

/// Parameters of every MoE layer.
fn shares<B, M, R>(model: &CausalLm<B, M, R>) -> Vec<Shares>
where
    B: TrainingBackend,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let mut layers = Vec::new();
    let _ = model.clone().map_moe(|_, moe| {
        let [count, ..] = moe.experts.gate_proj.dims();
        layers.push(Shares {
            experts: weights(&moe.experts).map(|weight| weight.id).collect(),
            slots: moe.router.slot_parameters(),
            count,
        });
        moe
    });
    layers
}

fn weights<B: TrainingBackend>(experts: &Experts<B>) -> impl Iterator<Item = &Param<Tensor<B, 3>>> {
    let matrices = [&experts.gate_proj, &experts.up_proj, &experts.down_proj];
    matrices.into_iter().filter_map(|matrix| match matrix {
        Matrix::Dense(weight) => Some(weight),
        Matrix::Blocks(_) | Matrix::Adapted(_) => None,
    })
}

/// Passes the moments of every divided expert, times `factor`, on to both experts.
pub fn inherit<B, M, R>(
    optimizer: &AdamW<B>,
    model: &CausalLm<B, M, R>,
    changes: &[Change],
    factor: f32,
) where
    B: TrainingBackend,
    M: TokenMixer<B>,
    R: Route<B>,
{
    for (shares, change) in shares(model).into_iter().zip(changes) {
        if change.divisions.is_empty() {
            continue;
        }
        let divided = |slot: usize| {
            let mut divisions = change.divisions.iter();
            divisions.any(|it| it.parent == slot || it.child == slot)
        };
        let share = |slot: usize| if divided(slot) { factor } else { 1.0 };
        let factors = |slots: usize| (0..slots).map(share).collect::<Vec<_>>();
        for id in shares.experts {
            let sources = change.sources(shares.count);
            optimizer.inherit(id, Along::First, &sources, &factors(shares.count));
        }
        for (id, slots) in shares.slots {
            let sources = change.sources(slots);
            optimizer.inherit(id, Along::Last, &sources, &factors(slots));
        }
    }
}

/// Squared gradient norm of every expert's weights, by MoE layer.
pub fn gradients_by_expert<B, M, R>(
    model: &CausalLm<B, M, R>,
    grads: &GradientsParams,
) -> Vec<Vec<f64>>
where
    B: TrainingBackend,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let mut layers = Vec::new();
    let _ = model.clone().map_moe(|_, moe| {
        let squares = weights(&moe.experts).filter_map(|weight| {
            let grad = grads.get::<<B as AutodiffBackend>::InnerBackend, 3>(weight.id)?;
            let [experts, ..] = grad.dims();
            let grad = grad.reshape([experts as i32, -1]);
            Some((grad.clone() * grad).sum_dim(1).reshape([experts]))
        });
        let sum = squares.reduce(|sum, more| sum + more);
        layers.push(sum.map_or_else(Vec::new, |sum| sum.into_data().iter::<f64>().collect()));
        moe
    });
    layers
}
