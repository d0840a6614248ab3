//! Linear attention with a gated state: constant memory, whatever the context.
//!
//! Gated linear attention (<https://arxiv.org/abs/2312.06635>) with a scalar decay per head as in Mamba-2,
//! or Gated DeltaNet (<https://arxiv.org/abs/2412.06464>), as the configured [`Rule`] says.

mod cache;
mod config;

use burn::module::{Module, Param};
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{LinearAttention, LinearAttentionOptions};
use darkhorse_backends::unit::UnitEps;

use super::TokenMixer;
use super::short_conv::ShortConv;
use crate::model::cache::{CacheConfig, Extension, REVERSIBLE, one_by_one};
use crate::model::context::{Context, Phase};
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::norm::RmsNorm;
pub use cache::RecurrentCache;
use cache::{Moment, Reversible};
pub use config::{Decay, GatedLinearConfig, HeadSharing, QkNorm, Rule};

/// Added to a length, or to its square.
const LENGTH_EPS: f64 = 1e-6;
/// Of the normalization of queries and keys with a weight.
const QK_RMS_EPS: f64 = 1e-5;

/// Gated linear attention.
#[derive(Module, Debug)]
pub struct GatedLinear<B: Backend> {
    /// `[hidden_size, num_query_heads * key_head_dim]`.
    pub q_proj: Linear<B>,
    /// `[hidden_size, num_key_heads * key_head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_value_heads * value_head_dim]`.
    pub v_proj: Linear<B>,
    /// To the decay, `[hidden_size, num_heads]`.
    pub gk_proj: Linear<B>,
    /// To the strength of the write, `[hidden_size, num_heads]`.
    pub b_proj: Linear<B>,
    /// To the gate of the output, `[hidden_size, num_heads * value_head_dim]`.
    pub g_proj: Linear<B>,
    /// Before the queries.
    pub q_conv: ShortConv<B>,
    /// Before the keys.
    pub k_conv: ShortConv<B>,
    /// Before the values.
    pub v_conv: ShortConv<B>,
    /// Under [`QkNorm::Rms`].
    pub q_norm: Option<RmsNorm<B>>,
    /// Under [`QkNorm::Rms`].
    pub k_norm: Option<RmsNorm<B>>,
    /// Logarithm of the decay's rate, `[num_heads]`, under [`Decay::Softplus`].
    pub a_log: Option<Param<Tensor<B, 1>>>,
    /// `[num_heads]`, under [`Decay::Softplus`].
    pub dt_bias: Option<Param<Tensor<B, 1>>>,
    /// Normalizes what a head reads, `[value_head_dim]`.
    pub o_norm: RmsNorm<B>,
    /// Back to the residual stream, `[num_heads * value_head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    #[module(skip)]
    config: GatedLinearConfig,
}

impl<B: Backend> GatedLinear<B> {
    pub(super) fn init(
        config: &GatedLinearConfig,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let hidden = init.config().hidden_size;
        let [query, key, value, output] = config.widths();
        let (heads, taps) = (config.num_heads, config.conv_kernel_size);
        let gates = |bias| init.linear(hidden, heads, device).with(bias);
        let is_softplus = config.decay == Decay::Softplus;
        let rms = || {
            let weight = init.ones(config.key_head_dim, device);
            (config.qk_norm == QkNorm::Rms).then(|| RmsNorm::new(weight, QK_RMS_EPS))
        };
        Self {
            q_proj: init.linear(hidden, query, device),
            k_proj: init.linear(hidden, key, device),
            v_proj: init.linear(hidden, value, device),
            gk_proj: gates(Bias::when(!is_softplus)),
            b_proj: gates(Bias::when(config.write_bias)),
            g_proj: init.linear(hidden, output, device),
            q_conv: ShortConv::init(query, taps, init, device),
            k_conv: ShortConv::init(key, taps, init, device),
            v_conv: ShortConv::init(value, taps, init, device),
            q_norm: rms(),
            k_norm: rms(),
            a_log: is_softplus.then(|| init.drawn([heads], 0.5..8.0, f64::ln, device)),
            dt_bias: is_softplus.then(|| {
                // the inverse of softplus
                let bias = |log: f64| log.exp() + (-(-log.exp()).exp_m1()).ln();
                init.drawn([heads], 0.001_f64.ln()..0.1_f64.ln(), bias, device)
            }),
            o_norm: RmsNorm::new(init.ones(config.value_head_dim, device), config.norm_eps),
            o_proj: init.residual_linear(output, hidden, device),
            config: config.clone(),
        }
    }
}

/// What a layer makes of some positions.
struct Mixed<B: Ops> {
    output: Tensor<B, 3>,
    now: Moment<B>,
    /// What it was given, to be taken back.
    given: ([Tensor<B, 3>; 3], LinearAttention<B>),
}

impl<B: Ops> GatedLinear<B> {
    /// How a token changes the state in whole sequences.
    fn rule(&self, phase: Phase) -> Rule {
        match phase {
            Phase::Inference => self.config.rule,
            Phase::Training => self.config.training_rule.unwrap_or(self.config.rule),
        }
    }

    fn options(&self, rule: Rule) -> LinearAttentionOptions {
        LinearAttentionOptions {
            rule: rule.into(),
            scale: (self.config.key_head_dim as f64).powf(-0.5),
        }
    }

    /// Logarithms of the decays, f32, `[batch, seq, num_heads]`.
    pub fn log_decay(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let raw = self.gk_proj.forward(hidden).cast(DType::F32);
        match (self.config.decay, &self.a_log, &self.dt_bias) {
            (Decay::Softplus, Some(a_log), Some(dt_bias)) => {
                let rate = a_log.val().cast(DType::F32).exp().unsqueeze();
                let raw = raw + dt_bias.val().cast(DType::F32).unsqueeze();
                log_sigmoid(raw.neg()) * rate
            }
            (Decay::LogSigmoid { normalizer }, ..) => log_sigmoid(raw).div_scalar(normalizer),
            (Decay::Softplus, ..) => unreachable!("a softplus decay has its rate and its bias"),
        }
    }

    /// Strengths of the writes, f32, `[batch, seq, num_heads]`.
    pub fn write(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        sigmoid(self.b_proj.forward(hidden).cast(DType::F32))
    }

    fn heads(&self, projected: Tensor<B, 3>, dim: usize) -> Tensor<B, 4> {
        let [batch, seq, width] = projected.dims();
        let heads = projected.reshape([batch, seq, width / dim, dim]);
        heads.cast(DType::F32)
    }

    /// One head for every state.
    fn shared(&self, heads: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, seq, count, dim] = heads.dims();
        let each = self.config.num_heads / count;
        if each == 1 {
            return heads;
        }
        match self.config.head_sharing {
            HeadSharing::Tiled => heads
                .unsqueeze_dim::<5>(2)
                .expand([batch, seq, each, count, dim]),
            HeadSharing::Grouped => heads
                .unsqueeze_dim::<5>(3)
                .expand([batch, seq, count, each, dim]),
        }
        .reshape([batch, seq, each * count, dim])
    }

    /// Normalized and rotated, for every state.
    fn placed(
        &self,
        heads: Tensor<B, 4>,
        norm: Option<&RmsNorm<B>>,
        context: &Context<B>,
    ) -> Tensor<B, 4> {
        let normalized = match (self.config.qk_norm, norm) {
            (QkNorm::Length, _) => unit(heads, UnitEps::Length(LENGTH_EPS)),
            (QkNorm::SquaredLength, _) => unit(heads, UnitEps::Square(LENGTH_EPS)),
            (QkNorm::Rms, Some(norm)) => norm
                .forward(heads.cast(norm.weight.val().dtype()))
                .cast(DType::F32),
            (QkNorm::Rms, None) => unreachable!("a normalization with a weight has it"),
        };
        let rotated = match self.config.rotary_dim {
            0 => normalized,
            _ => context.rotation.apply_to_halves(normalized),
        };
        self.shared(rotated)
    }

    /// Mixes positions with those before them.
    fn mix(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        mask: &AttentionMask<B>,
        past: Option<&Moment<B>>,
        options: LinearAttentionOptions,
    ) -> Mixed<B> {
        let [batch, seq, _] = hidden.dims();
        let dtype = hidden.dtype();
        let GatedLinearConfig {
            num_heads,
            key_head_dim,
            value_head_dim,
            ..
        } = self.config;
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let convs = [&self.q_conv, &self.k_conv, &self.v_conv];
        let padded: [Tensor<B, 3>; 3] = std::array::from_fn(|at| {
            let tail = past.map(|past| past.tails[at].clone());
            convs[at].padded(projections[at].forward(hidden.clone()), tail)
        });
        let tails = std::array::from_fn(|at| convs[at].tail(padded[at].clone()));
        let [query, key, value] = std::array::from_fn(|at| {
            B::short_conv(padded[at].clone(), convs[at].weight.val(), mask)
        });
        let input = LinearAttention {
            query: self.placed(
                self.heads(query, key_head_dim),
                self.q_norm.as_ref(),
                context,
            ),
            key: self.placed(self.heads(key, key_head_dim), self.k_norm.as_ref(), context),
            value: self.shared(self.heads(value, value_head_dim)),
            log_decay: self.log_decay(hidden.clone()),
            write: self.write(hidden.clone()),
            state: match past {
                Some(past) => past.state.clone(),
                None => Tensor::zeros(
                    [batch, num_heads, key_head_dim, value_head_dim],
                    (&hidden.device(), DType::F32),
                ),
            },
        };
        let attended = B::linear_attention(input.clone(), options, mask);
        let rows = [batch * seq, num_heads * value_head_dim];
        let normalized = self.o_norm.forward(attended.output.cast(dtype));
        let normalized = normalized.reshape(rows);
        let gate = self.g_proj.forward(hidden).reshape(rows);
        let gated = B::swiglu(gate, normalized);
        Mixed {
            output: self.o_proj.forward(gated.reshape([batch, seq, rows[1]])),
            now: Moment {
                state: attended.state,
                tails,
            },
            given: (padded, input),
        }
    }

    /// What the linear attention of a whole sequence is given.
    pub fn inputs(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> LinearAttention<B> {
        let options = self.options(self.config.rule);
        let mixed = self.mix(hidden, context, &context.mask, None, options);
        mixed.given.1
    }

    /// A past of `len` positions of which the state is known and nothing else: convolutions begin anew.
    ///
    /// # Shapes
    ///
    /// - state: `[batch, num_heads, key_head_dim, value_head_dim]`
    pub fn cache_from(&self, state: Tensor<B, 4>, len: usize) -> RecurrentCache<B> {
        let [batch, ..] = state.dims();
        let tails = [&self.q_conv, &self.k_conv, &self.v_conv].map(|conv| {
            let [channels, taps] = conv.weight.dims();
            Tensor::zeros([batch, taps - 1, channels], &state.device())
        });
        RecurrentCache {
            len,
            now: Some(Moment { state, tails }),
            last: None,
        }
    }

    /// Mixes the next positions of one past, and adds them to it.
    fn extend_one(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut RecurrentCache<B>,
    ) -> Tensor<B, 3> {
        let rule = match self.config.rule {
            Rule::ChunkDelta { .. } | Rule::Additive => Rule::Additive,
            Rule::Delta => Rule::Delta,
        };
        self.extend_by(hidden, context, cache, rule)
    }

    /// [`extend`](TokenMixer::extend) under a rule of the caller's choice; chunks are counted from the first
    /// of the new positions.
    pub fn extend_by(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut RecurrentCache<B>,
        rule: Rule,
    ) -> Tensor<B, 3> {
        let [_, new, _] = hidden.dims();
        let options = self.options(rule);
        let before = cache.now.take();
        let mask = AttentionMask::Causal;
        let mixed = self.mix(hidden, context, &mask, before.as_ref(), options);
        let (padded, input) = mixed.given;
        cache.last = (new <= REVERSIBLE).then_some(Reversible {
            start: cache.len,
            before,
            padded,
            input,
            options,
        });
        cache.now = Some(mixed.now);
        cache.len += new;
        mixed.output
    }
}

/// Heads of length one, `[batch, seq, heads, dim]`.
fn unit<B: Ops>(heads: Tensor<B, 4>, eps: UnitEps) -> Tensor<B, 4> {
    let dims @ [batch, seq, count, dim] = heads.dims();
    B::unit_rows(heads.reshape([batch * seq * count, dim]), eps).reshape(dims)
}

impl<B: Ops> TokenMixer<B> for GatedLinear<B> {
    type Cache = RecurrentCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let options = self.options(self.rule(context.phase));
        self.mix(hidden, context, &context.mask, None, options)
            .output
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, RecurrentCache<B>>],
    ) -> Tensor<B, 3> {
        one_by_one(hidden, sequences, |rows, range, past| {
            self.extend_one(rows, &context.rows(range), past)
        })
    }

    fn empty_cache(&self, _: &CacheConfig) -> RecurrentCache<B> {
        RecurrentCache {
            len: 0,
            now: None,
            last: None,
        }
    }
}
