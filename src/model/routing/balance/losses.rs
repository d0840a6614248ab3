//! Auxiliary losses of a router, without their factors.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::model::routing::Routing;
use crate::model::routing::stats::choices;

/// Load-balancing loss `sum_e f_e P_e`, summed over the rows of a batch.
///
/// Here `f_e` is the load of expert `e` relative to an even load and `P_e` its mean normalized affinity, both over
/// the counted tokens of a row. One row per sequence gives DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>),
/// equations 17 to 20; all tokens in one row give Switch Transformer (<https://arxiv.org/abs/2101.03961>), equation
/// 4.
///
/// # Shapes
///
/// - routing: of `rows * tokens` tokens; counted: `[rows, tokens]`, 1 for counted tokens, else 0
/// - output: `[1]`
pub fn load_loss<B: Backend>(routing: &Routing<B>, counted: Tensor<B, 2>) -> Tensor<B, 1> {
    let [rows, in_row] = counted.dims();
    let (experts, slots) = (routing.experts, routing.slots());
    let [_, k] = routing.indices.dims();
    let tokens = counted.clone().sum_dim(1).clamp_min(1.0);
    let counted = counted.reshape([rows, in_row, 1]);
    let per_row = |tensor: Tensor<B, 2>| {
        (tensor.reshape([rows, in_row, experts]) * counted.clone())
            .sum_dim(1)
            .reshape([rows, experts])
            / tokens.clone()
    };

    let chosen = choices(routing.indices.clone(), slots).narrow(1, 0, experts);
    let load = per_row(chosen.detach());
    let load = match &routing.growth {
        None => load.mul_scalar(experts as f64 / k as f64),
        Some(growth) => load.div_scalar(k as f64) * growth.in_use(experts).unsqueeze(),
    };
    let affinity = routing.affinities.clone().narrow(1, 0, experts);
    let affinity = affinity.clone() / (affinity.sum_dim(1) + 1e-20);
    (load * per_row(affinity)).sum()
}

/// Router z-loss, `sum_t logsumexp(logits_t)^2` over the counted tokens. It keeps the logits small (ST-MoE,
/// <https://arxiv.org/abs/2202.08906>, equation 5).
///
/// # Shapes
///
/// - counted: `[tokens]`; output: `[1]`
pub fn z_loss<B: Backend>(routing: &Routing<B>, counted: Tensor<B, 1>) -> Tensor<B, 1> {
    let logits = routing.logits.clone();
    let largest = logits.clone().detach().max_dim(1);
    let sum = (logits - largest.clone()).exp().sum_dim(1).log() + largest;
    let tokens = counted.dims();
    (sum.powi_scalar(2).reshape(tokens) * counted).sum()
}

/// Mutual-information loss, `T (mean_t S(p_t) - S(mean_t p_t))`, where `p = s / sum(s)` are the normalized
/// affinities, `S` is the entropy and `T` the number of counted tokens. It makes each token's choice sharp and the
/// mean choice even (ModuleFormer, <https://arxiv.org/abs/2306.04640>).
///
/// # Shapes
///
/// - counted: `[tokens]`; output: `[1]`
pub fn mutual_information_loss<B: Backend>(
    routing: &Routing<B>,
    counted: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let affinity = routing.affinities.clone();
    let share = affinity.clone() / (affinity.sum_dim(1) + 1e-20);
    let [tokens] = counted.dims();
    let counted = counted.reshape([tokens, 1]);
    let total = counted.clone().sum().clamp_min(1.0);
    let mean = (share.clone() * counted.clone()).sum_dim(0) / total.clone().unsqueeze();
    let of_tokens = (entropy(share) * counted).sum();
    of_tokens - entropy(mean).sum() * total
}

/// Entropy of every row, in nats, `[rows, 1]`.
fn entropy<B: Backend>(shares: Tensor<B, 2>) -> Tensor<B, 2> {
    (shares.clone() * (shares + 1e-20).log()).sum_dim(1).neg()
}
