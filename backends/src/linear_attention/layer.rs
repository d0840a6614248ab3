//! What a layer of linear attention computes between its projections: short convolutions, normalized and
//! rotated heads, gates, and the attention itself.

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::{LinearAttention, LinearAttentionOptions};
use crate::attention::AttentionMask;
use crate::heads::HeadSharing;
use crate::ops::Ops;
use crate::unit::UnitEps;

/// How the heads of queries and keys are normalized.
#[derive(Debug, Clone)]
pub enum HeadNorm<B: Backend> {
    /// To a length of one.
    Unit(UnitEps),
    /// To a root mean square of one, then scaled.
    Rms {
        /// Factors of queries and of keys, `[key_dim]` each.
        weights: [Tensor<B, 1>; 2],
        /// Added to the mean square.
        eps: f64,
    },
}

/// Where the logarithm of a state's decay comes from.
#[derive(Debug, Clone)]
pub enum Decay<B: Backend> {
    /// `-e^A_log softplus(x + dt_bias)`.
    Softplus {
        /// `[heads]`.
        a_log: Tensor<B, 1>,
        /// `[heads]`.
        dt_bias: Tensor<B, 1>,
    },
    /// `log_sigmoid(x) / normalizer`.
    LogSigmoid {
        /// Divides the logarithm.
        normalizer: f64,
    },
}

impl<B: Backend> Decay<B> {
    /// Logarithms of the decays in f32, from a projection, `[batch, seq, heads]`.
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

/// A layer: what is the same for all positions.
#[derive(Debug, Clone)]
pub struct Layer<B: Backend> {
    /// Of queries, keys and values, the oldest tap first, `[channels, taps]` each.
    pub convolutions: [Tensor<B, 2>; 3],
    /// How queries and keys are normalized.
    pub norm: HeadNorm<B>,
    /// Where decays come from.
    pub decay: Decay<B>,
    /// Which query, key or value a state reads.
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

/// What is known after some position.
#[derive(Debug, Clone)]
pub struct Moment<B: Backend> {
    /// `[batch, heads, key_dim, value_dim]`.
    pub state: Tensor<B, 4>,
    /// Last inputs of the convolutions of queries, keys and values, `[batch, taps - 1, channels]`.
    pub tails: [Tensor<B, 3>; 3],
}

/// Some positions, projected.
#[derive(Debug, Clone)]
pub struct Positions<B: Backend> {
    /// Queries, keys and values, `[batch, seq, channels]` each.
    pub projected: [Tensor<B, 3>; 3],
    /// What decays come from, `[batch, seq, heads]`.
    pub decay: Tensor<B, 3>,
    /// What the strengths of writes are the sigmoid of, `[batch, seq, heads]`; absent where the rule asks for
    /// none.
    pub write: Option<Tensor<B, 3>>,
    /// Cosines and sines of the leading dimensions, `[batch, seq, half]`; absent: queries and keys are not
    /// rotated.
    pub rotation: Option<[Tensor<B, 3>; 2]>,
    /// What came before; absent: nothing.
    pub past: Option<Moment<B>>,
}

/// What a layer makes of some positions.
#[derive(Debug, Clone)]
pub struct Mixed<B: Backend> {
    /// In f32, `[batch, seq, heads, value_dim]`.
    pub output: Tensor<B, 4>,
    /// What is known after them.
    pub now: Moment<B>,
    /// What the attention was given; a form for single positions leaves it out.
    pub given: Option<Given<B>>,
}

/// What it takes to compute a part of some positions again.
#[derive(Debug, Clone)]
pub struct Given<B: Backend> {
    /// Inputs of the convolutions with those before them, `[batch, taps - 1 + seq, channels]` each.
    pub padded: [Tensor<B, 3>; 3],
    /// The inputs of the attention.
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

/// Queries (`which` is 0) or keys (1), normalized and rotated, one for every state.
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

/// One head for every state.
fn shared<B: Ops>(layer: &Layer<B>, heads: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, count, _] = heads.dims();
    match layer.heads / count {
        1 => heads,
        each => B::share_heads(heads, each, layer.sharing),
    }
}
