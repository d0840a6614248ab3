//! A linear-attention layer between its projections: short convolutions, normalization and rotation of heads, gates,
//! and the attention itself.

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::{LinearAttention, LinearAttentionOptions};
use crate::attention::AttentionMask;
use crate::heads::HeadSharing;
use crate::ops::Ops;
use crate::unit::UnitEps;

/// Normalization of query and key heads.
#[derive(Debug, Clone)]
pub enum HeadNorm<B: Backend> {
    /// Division by the Euclidean length.
    Unit(UnitEps),
    /// RMSNorm with weights.
    Rms {
        /// Weights for queries and for keys, `[key_dim]` each.
        weights: [Tensor<B, 1>; 2],
        /// Epsilon, added to the mean square.
        eps: f64,
    },
}

/// Computation of the logarithm of the decay.
#[derive(Debug, Clone)]
pub enum Decay<B: Backend> {
    /// `-e^A_log softplus(x + dt_bias)`.
    Softplus {
        /// Logarithm of the decay rate, `[heads]`.
        a_log: Tensor<B, 1>,
        /// Bias, `[heads]`.
        dt_bias: Tensor<B, 1>,
    },
    /// `log_sigmoid(x) / normalizer`.
    LogSigmoid {
        /// Divisor of the logarithm.
        normalizer: f64,
    },
}

impl<B: Backend> Decay<B> {
    /// Logarithms of the decay in f32, from the projected input, `[batch, seq, heads]`.
    pub fn log(&self, projected: Tensor<B, 3>) -> Tensor<B, 3> {
        let raw = projected.cast(DType::F32);
        match self {
            Self::Softplus { a_log, dt_bias } => {
                let rate = a_log.clone().cast(DType::F32).exp().unsqueeze();
                let raw = raw + dt_bias.clone().cast(DType::F32).unsqueeze();
                log_sigmoid(raw.neg()) * rate
            }
            Self::LogSigmoid { normalizer } => log_sigmoid(raw).div_scalar(*normalizer),
        }
    }
}

/// Parameters and settings of a layer.
#[derive(Debug, Clone)]
pub struct Layer<B: Backend> {
    /// Weights of the convolutions of queries, keys and values, oldest tap first, `[channels, taps]` each.
    pub convolutions: [Tensor<B, 2>; 3],
    /// Normalization of queries and keys.
    pub norm: HeadNorm<B>,
    /// Computation of the decay.
    pub decay: Decay<B>,
    /// Assignment of query, key and value heads to states.
    pub sharing: HeadSharing,
    /// Number of states.
    pub heads: usize,
    /// Width of a query or key.
    pub key_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// The rule and the scale of the attention.
    pub options: LinearAttentionOptions,
}

/// State of a layer after some position.
#[derive(Debug, Clone)]
pub struct Moment<B: Backend> {
    /// `[batch, heads, key_dim, value_dim]`.
    pub state: Tensor<B, 4>,
    /// Last inputs of the convolutions of queries, keys and values, `[batch, taps - 1, channels]` each.
    pub tails: [Tensor<B, 3>; 3],
}

/// Projected inputs of some positions.
#[derive(Debug, Clone)]
pub struct Positions<B: Backend> {
    /// Queries, keys and values, `[batch, seq, channels]` each.
    pub projected: [Tensor<B, 3>; 3],
    /// Input of the decay, `[batch, seq, heads]`.
    pub decay: Tensor<B, 3>,
    /// Write strengths before their sigmoid, `[batch, seq, heads]`; absent if the rule does not use them.
    pub write: Option<Tensor<B, 3>>,
    /// Cosines and sines of the rotated leading dimensions, `[batch, seq, half]`; absent: no rotation.
    pub rotation: Option<[Tensor<B, 3>; 2]>,
    /// State after the earlier positions; absent: none.
    pub past: Option<Moment<B>>,
}

/// Output of a layer for some positions.
#[derive(Debug, Clone)]
pub struct Mixed<B: Backend> {
    /// Output of the heads in f32, `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// State after these positions.
    pub now: Moment<B>,
    /// Inputs of the attention; a form for single positions omits them.
    pub given: Option<Given<B>>,
}

/// Values needed to replay the first of some positions.
#[derive(Debug, Clone)]
pub struct Given<B: Backend> {
    /// Inputs of the convolutions, preceded by earlier ones, `[batch, taps - 1 + seq, channels]` each.
    pub padded: [Tensor<B, 3>; 3],
    /// Inputs of the attention.
    pub input: LinearAttention<B>,
}

/// See [`Ops::mix_linear`].
pub fn mix<B: Ops>(layer: &Layer<B>, positions: Positions<B>, mask: &AttentionMask<B>) -> Mixed<B> {
    let [batch, seq, _] = positions.projected[0].dims();
    let device = positions.decay.device();
    let convolutions = &layer.convolutions;
    let (state, tails) = match positions.past {
        Some(Moment { state, tails }) => (Some(state), tails.map(Some)),
        None => (None, [None, None, None]),
    };
    let mut tails = tails.into_iter();
    let mut which = convolutions.iter();
    let padded = positions.projected.map(|projected| {
        let [channels, taps] = which.next().expect("there are three").dims();
        let tail = tails.next().flatten();
        let tail = tail.unwrap_or_else(|| {
            Tensor::zeros([batch, taps - 1, channels], (&device, projected.dtype()))
        });
        match taps {
            1 => projected,
            _ => Tensor::cat(vec![tail, projected], 1),
        }
    });
    let [query, key, value] =
        std::array::from_fn(|at| B::short_conv(padded[at].clone(), convolutions[at].clone(), mask));
    let zeros = |dims| Tensor::zeros(dims, (&device, DType::F32));
    let input = LinearAttention {
        query: placed(layer, 0, query, positions.rotation.as_ref()),
        key: placed(layer, 1, key, positions.rotation.as_ref()),
        value: shared(layer, heads(value, layer.value_dim)),
        log_decay: layer.decay.log(positions.decay),
        write: match positions.write {
            Some(write) => sigmoid(write.cast(DType::F32)),
            None => zeros([batch, seq, layer.heads]),
        },
        state: state.unwrap_or_else(|| {
            let dims = [batch, layer.heads, layer.key_dim, layer.value_dim];
            Tensor::zeros(dims, (&device, DType::F32))
        }),
    };
    let attended = B::linear_attention(input.clone(), layer.options, mask);
    Mixed {
        output: attended.output,
        now: Moment {
            state: attended.state,
            tails: padded.clone().map(|padded| {
                let [_, rows, _] = padded.dims();
                padded.narrow(1, seq, rows - seq)
            }),
        },
        given: Some(Given { padded, input }),
    }
}

fn heads<B: Backend>(projected: Tensor<B, 3>, dim: usize) -> Tensor<B, 4> {
    let [batch, seq, width] = projected.dims();
    let heads = projected.reshape([batch, seq, width / dim, dim]);
    heads.cast(DType::F32)
}

/// Normalizes and rotates queries (`which` is 0) or keys (1), and repeats them for every state.
fn placed<B: Ops>(
    layer: &Layer<B>,
    which: usize,
    convolved: Tensor<B, 3>,
    rotation: Option<&[Tensor<B, 3>; 2]>,
) -> Tensor<B, 4> {
    let heads = heads(convolved, layer.key_dim);
    let dims @ [batch, seq, count, dim] = heads.dims();
    let rows = heads.reshape([batch * seq * count, dim]);
    let normalized = match &layer.norm {
        HeadNorm::Unit(eps) => B::unit_rows(rows, *eps),
        HeadNorm::Rms { weights, eps } => {
            let weight = weights[which].clone();
            B::rms_norm(rows.cast(weight.dtype()), weight, *eps).cast(DType::F32)
        }
    };
    let normalized = normalized.reshape(dims);
    let rotated = match rotation {
        Some(angles) => {
            let [cos, sin] = angles.clone().map(|it| it.cast(DType::F32));
            B::rope_halves(normalized, cos, sin)
        }
        None => normalized,
    };
    shared(layer, rotated)
}

/// Repeats heads for every state.
fn shared<B: Ops>(layer: &Layer<B>, heads: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, count, _] = heads.dims();
    match layer.heads / count {
        1 => heads,
        each => B::share_heads(heads, each, layer.sharing),
    }
}
