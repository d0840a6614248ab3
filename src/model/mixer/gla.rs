//! Linear attention with a gated state: constant memory for any context length.
//!
//! Gated linear attention (<https://arxiv.org/abs/2312.06635>) with a scalar decay per head as in Mamba-2, or Gated
//! DeltaNet (<https://arxiv.org/abs/2412.06464>), depending on the configured [`UpdateRule`].

mod cache;
mod config;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{
    self, HeadNorm, Layer, LinearAttention, LinearAttentionOptions, Mixed, Moment, Positions,
};
use darkhorse_backends::unit::UnitEps;

use super::TokenMixer;
use super::short_conv::ShortConv;
use crate::model::cache::{CacheConfig, Extension, REVERSIBLE, by_sequence};
use crate::model::context::{Context, Phase};
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
use crate::model::norm::RmsNorm;
pub use cache::GlaCache;
use cache::Reversible;
pub use config::{DecayConfig, GlaConfig, QkNorm};
pub use darkhorse_backends::linear_attention::{HeadSharing, UpdateRule};

/// Epsilon of the normalization to unit length.
const LENGTH_EPS: f64 = 1e-6;
/// Epsilon of the RMSNorm of queries and keys.
const QK_RMS_EPS: f64 = 1e-5;

/// Gated linear attention, or Gated DeltaNet.
#[derive(Module, Debug)]
pub struct Gla<B: Backend> {
    /// `[hidden_size, num_query_heads * key_head_dim]`.
    pub q_proj: Linear<B>,
    /// `[hidden_size, num_key_heads * key_head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_value_heads * value_head_dim]`.
    pub v_proj: Linear<B>,
    /// Projection to the decay, `[hidden_size, num_heads]`.
    pub gk_proj: Linear<B>,
    /// Projection to the write strength, `[hidden_size, num_heads]`.
    pub b_proj: Linear<B>,
    /// Projection to the output gate, `[hidden_size, num_heads * value_head_dim]`.
    pub g_proj: Linear<B>,
    /// Convolution of the projected queries.
    pub q_conv: ShortConv<B>,
    /// Convolution of the projected keys.
    pub k_conv: ShortConv<B>,
    /// Convolution of the projected values.
    pub v_conv: ShortConv<B>,
    /// Normalizes queries, if [`QkNorm::Rms`] is configured.
    pub q_norm: Option<RmsNorm<B>>,
    /// Normalizes keys, if [`QkNorm::Rms`] is configured.
    pub k_norm: Option<RmsNorm<B>>,
    /// Logarithm of the decay rate, `[num_heads]`, if [`DecayConfig::Softplus`] is configured.
    pub a_log: Option<Param<Tensor<B, 1>>>,
    /// Bias of the decay, `[num_heads]`, if [`DecayConfig::Softplus`] is configured.
    pub dt_bias: Option<Param<Tensor<B, 1>>>,
    /// Normalizes the output of every head, `[value_head_dim]`.
    pub o_norm: RmsNorm<B>,
    /// Output projection, `[num_heads * value_head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    #[module(skip)]
    config: GlaConfig,
}

impl<B: Backend> Gla<B> {
    pub(super) fn init(config: &GlaConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let hidden = init.config().hidden_size;
        let [query, key, value, output] = config.widths();
        let (heads, taps) = (config.num_heads, config.conv_kernel_size);
        let gates = |bias| init.linear(hidden, heads, device).with(bias);
        let is_softplus = config.decay == DecayConfig::Softplus;
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

/// Projections of some positions.
struct Projected<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    decay: Tensor<B, 3>,
    write: Option<Tensor<B, 3>>,
    gate: Tensor<B, 3>,
}

impl<B: Backend> Projected<B> {
    /// Projections of a range of positions.
    fn rows(&self, range: Range<usize>) -> Self {
        let of = |tensor: &Tensor<B, 3>| {
            let [_, seq, _] = tensor.dims();
            if range == (0..seq) {
                tensor.clone()
            } else {
                tensor.clone().narrow(1, range.start, range.len())
            }
        };
        Self {
            query: of(&self.query),
            key: of(&self.key),
            value: of(&self.value),
            decay: of(&self.decay),
            write: self.write.as_ref().map(of),
            gate: of(&self.gate),
        }
    }
}

impl<B: Ops> Gla<B> {
    /// Update rule of the state for whole sequences.
    fn rule(&self, phase: Phase) -> UpdateRule {
        match phase {
            Phase::Inference => self.config.rule,
            Phase::Training => self.config.training_rule.unwrap_or(self.config.rule),
        }
    }

    /// Update rule of the state in decoding, where chunks do not apply.
    fn rule_of_steps(&self) -> UpdateRule {
        match self.config.rule {
            UpdateRule::ChunkDelta { .. } | UpdateRule::Additive => UpdateRule::Additive,
            UpdateRule::Delta => UpdateRule::Delta,
        }
    }

    fn layer(&self, rule: UpdateRule) -> Layer<B> {
        let norm = match (self.config.qk_norm, &self.q_norm, &self.k_norm) {
            (QkNorm::Length, ..) => HeadNorm::Unit(UnitEps::Length(LENGTH_EPS)),
            (QkNorm::SquaredLength, ..) => HeadNorm::Unit(UnitEps::Square(LENGTH_EPS)),
            (QkNorm::Rms, Some(query), Some(key)) => HeadNorm::Rms {
                weights: [query.weight.val(), key.weight.val()],
                eps: QK_RMS_EPS,
            },
            (QkNorm::Rms, ..) => unreachable!("a normalization with a weight has it"),
        };
        Layer {
            convolutions: [&self.q_conv, &self.k_conv, &self.v_conv].map(|it| it.weight.val()),
            norm,
            decay: self.decay(),
            sharing: self.config.head_sharing,
            heads: self.config.num_heads,
            key_dim: self.config.key_head_dim,
            value_dim: self.config.value_head_dim,
            options: LinearAttentionOptions {
                rule,
                scale: (self.config.key_head_dim as f64).powf(-0.5),
            },
        }
    }

    fn decay(&self) -> linear_attention::Decay<B> {
        match (self.config.decay, &self.a_log, &self.dt_bias) {
            (DecayConfig::Softplus, Some(a_log), Some(dt_bias)) => {
                linear_attention::Decay::Softplus {
                    a_log: a_log.val(),
                    dt_bias: dt_bias.val(),
                }
            }
            (DecayConfig::LogSigmoid { normalizer }, ..) => {
                linear_attention::Decay::LogSigmoid { normalizer }
            }
            (DecayConfig::Softplus, ..) => {
                unreachable!("a softplus decay has its rate and its bias")
            }
        }
    }

    /// Logarithms of the decay, f32, `[batch, seq, num_heads]`.
    pub fn log_decay(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.decay().log(self.gk_proj.forward(hidden))
    }

    /// Write strengths, f32, `[batch, seq, num_heads]`.
    pub fn write(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        sigmoid(self.b_proj.forward(hidden).cast(DType::F32))
    }

    /// Projects the input; write strengths only if the rule uses them.
    fn project(&self, hidden: Tensor<B, 3>, rule: UpdateRule) -> Projected<B> {
        let write = (rule != UpdateRule::Additive).then(|| self.b_proj.forward(hidden.clone()));
        let [query, key, value, decay, gate] = Linear::forward_each(
            [
                &self.q_proj,
                &self.k_proj,
                &self.v_proj,
                &self.gk_proj,
                &self.g_proj,
            ],
            hidden,
        );
        Projected {
            query,
            key,
            value,
            decay,
            write,
            gate,
        }
    }

    /// Runs linear attention on positions and their past, without normalization and output gate.
    fn mix(
        &self,
        projected: Projected<B>,
        context: &Context<B>,
        mask: &AttentionMask<B>,
        past: Option<Moment<B>>,
        rule: UpdateRule,
    ) -> Mixed<B> {
        let positions = Positions {
            projected: [projected.query, projected.key, projected.value],
            decay: projected.decay,
            write: projected.write,
            rotation: (self.config.rotary_dim > 0).then(|| context.rotation.angles()),
            past,
        };
        B::mix_linear(&self.layer(rule), positions, mask)
    }

    /// Normalizes, gates and projects the output of the heads.
    fn finish(&self, read: Tensor<B, 4>, gate: Tensor<B, 3>) -> Tensor<B, 3> {
        let dims @ [batch, seq, width] = gate.dims();
        let rows = [batch * seq, width];
        let normalized = self.o_norm.forward(read.cast(gate.dtype()));
        let gated = B::swiglu(gate.reshape(rows), normalized.reshape(rows));
        self.o_proj.forward(gated.reshape(dims))
    }

    /// Inputs of the linear attention for whole sequences.
    pub fn inputs(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> LinearAttention<B> {
        let rule = self.config.rule;
        let projected = Projected {
            write: Some(self.b_proj.forward(hidden.clone())),
            ..self.project(hidden, rule)
        };
        let positions = Positions {
            projected: [projected.query, projected.key, projected.value],
            decay: projected.decay,
            write: projected.write,
            rotation: (self.config.rotary_dim > 0).then(|| context.rotation.angles()),
            past: None,
        };
        let mixed = linear_attention::layer::mix(&self.layer(rule), positions, &context.mask);
        mixed.given.expect("the definition gives it").input
    }

    /// Cache of `len` positions with a given state; the convolutions start from zeros.
    ///
    /// # Shapes
    ///
    /// - state: `[batch, num_heads, key_head_dim, value_head_dim]`
    pub fn cache_from(&self, state: Tensor<B, 4>, len: usize) -> GlaCache<B> {
        let [batch, ..] = state.dims();
        let tails = [&self.q_conv, &self.k_conv, &self.v_conv].map(|conv| {
            let [channels, taps] = conv.weight.dims();
            Tensor::zeros([batch, taps - 1, channels], &state.device())
        });
        GlaCache {
            len,
            now: Some(Moment { state, tails }),
            last: None,
        }
    }

    /// [`extend`](TokenMixer::extend) of one cache with the given update rule. Chunks start at the first new
    /// position.
    pub fn extend_by(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut GlaCache<B>,
        rule: UpdateRule,
    ) -> Tensor<B, 3> {
        let projected = self.project(hidden, rule);
        let gate = projected.gate.clone();
        self.finish(self.advance(projected, context, cache, rule), gate)
    }

    /// Attends from the next positions of one cache, `[batch, seq, num_heads, value_head_dim]`, and appends them to
    /// it.
    fn advance(
        &self,
        projected: Projected<B>,
        context: &Context<B>,
        cache: &mut GlaCache<B>,
        rule: UpdateRule,
    ) -> Tensor<B, 4> {
        let [_, new, _] = projected.query.dims();
        let before = cache.now.take();
        let mask = AttentionMask::Causal;
        let mixed = self.mix(projected, context, &mask, before.clone(), rule);
        cache.last = (new <= REVERSIBLE).then_some(Reversible {
            start: cache.len,
            new,
            before,
            given: mixed.given,
            options: self.layer(rule).options,
        });
        cache.now = Some(mixed.now);
        cache.len += new;
        mixed.output
    }
}

impl<B: Ops> TokenMixer<B> for Gla<B> {
    type Cache = GlaCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let rule = self.rule(context.phase);
        let projected = self.project(hidden, rule);
        let gate = projected.gate.clone();
        let mixed = self.mix(projected, context, &context.mask, None, rule);
        self.finish(mixed.output, gate)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, GlaCache<B>>],
    ) -> Tensor<B, 3> {
        let rule = self.rule_of_steps();
        let projected = self.project(hidden, rule);
        let read = by_sequence(sequences, |range, past| {
            let own = projected.rows(range.clone());
            self.advance(own, &context.rows(range), past, rule)
        });
        self.finish(read, projected.gate)
    }

    fn empty_cache(&self, _: &CacheConfig) -> GlaCache<B> {
        GlaCache {
            len: 0,
            now: None,
            last: None,
        }
    }

    fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            q_proj: scope.linear("q_proj", self.q_proj),
            k_proj: scope.linear("k_proj", self.k_proj),
            v_proj: scope.linear("v_proj", self.v_proj),
            gk_proj: scope.linear("gk_proj", self.gk_proj),
            b_proj: scope.linear("b_proj", self.b_proj),
            g_proj: scope.linear("g_proj", self.g_proj),
            o_proj: scope.linear("o_proj", self.o_proj),
            ..self
        }
    }
}
