//! Grouped-query attention whose output is gated by its input, as in Qwen3-Next: queries and keys
//! normalized, and only their leading dimensions rotated.
//!
//! <https://qwen.ai/blog?id=qwen3-next>; the gate: <https://arxiv.org/abs/2505.06708>.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::forgetting::Forgetting;
use darkhorse_backends::heads::HeadSharing;
use serde::{Deserialize, Serialize};

use super::TokenMixer;
use super::spec::{MixerCost, MixerSpec, PairFlops, Rotated, RowFormat, Rows};
use crate::model::cache::{CacheConfig, Extension, Past, bytes, one_by_one};
use crate::model::context::Context;
use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::init::Initializers;
use crate::model::linear::Linear;
use crate::model::norm::RmsNorm;
use crate::model::saturating::product;

/// Configuration of [`GatedAttention`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedAttentionConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many neighbouring query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How many leading dimensions of queries and keys rotary positions turn, halves as pairs.
    pub rotary_dim: usize,
}

impl MixerSpec for GatedAttentionConfig {
    fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, MAX_SIZE)?;
        }
        ModelConfigError::in_range("rotary_dim", self.rotary_dim, 2, self.head_dim)?;
        ModelConfigError::multiple("rotary_dim", self.rotary_dim, 2)?;
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        ModelConfigError::multiple("num_attention_heads", heads, shared)
    }

    fn rotated(&self) -> Option<Rotated> {
        Some(Rotated {
            field: "rotary_dim",
            dims: self.rotary_dim,
        })
    }

    fn cost(&self, hidden: usize) -> MixerCost {
        let query = self.num_attention_heads * self.head_dim;
        let key = self.num_key_value_heads * self.head_dim;
        MixerCost {
            projections: vec![
                [hidden, query],
                [hidden, query],
                [hidden, key],
                [hidden, key],
                [query, hidden],
            ],
            norms: product([2, self.head_dim]),
            pair_flops: PairFlops::both(product([4, query])),
            rows: vec![Rows {
                heads: 2 * self.num_key_value_heads,
                width: self.head_dim,
                format: RowFormat::F32,
            }],
            activations: product([14, query]),
            ..MixerCost::default()
        }
    }
}

/// Gated attention.
#[derive(Module, Debug)]
pub struct GatedAttention<B: Backend> {
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub q_proj: Linear<B>,
    /// To the gate of the output, `[hidden_size, num_attention_heads * head_dim]`.
    pub gate_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub v_proj: Linear<B>,
    /// Normalizes a query, `[head_dim]`.
    pub q_norm: RmsNorm<B>,
    /// Normalizes a key, `[head_dim]`.
    pub k_norm: RmsNorm<B>,
    /// Back to the residual stream, `[num_attention_heads * head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    #[module(skip)]
    config: GatedAttentionConfig,
}

/// The past of a [`GatedAttention`] layer.
#[derive(Debug, Clone, Default)]
pub struct GatedAttentionCache<B: Backend> {
    /// Rotated keys, and values, `[batch, seq, num_key_value_heads, head_dim]` each.
    past: Option<[Tensor<B, 4>; 2]>,
}

impl<B: Backend> Past for GatedAttentionCache<B> {
    fn len(&self) -> usize {
        self.past.as_ref().map_or(0, |[key, _]| key.dims()[1])
    }

    fn earliest(&self) -> usize {
        0
    }

    /// Forgets all positions from `len` on.
    fn truncate(&mut self, len: usize) {
        let now = self.len();
        let kept = self.past.take().filter(|_| len > 0);
        self.past = kept.map(|past| past.map(|it| it.narrow(1, 0, len.min(now))));
    }

    fn memory_bytes(&self) -> usize {
        self.past
            .as_ref()
            .map_or(0, |past| past.iter().map(bytes).sum())
    }
}

impl<B: Backend> GatedAttention<B> {
    pub(super) fn init(
        config: &GatedAttentionConfig,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let hidden = init.config().hidden_size;
        let width = config.num_attention_heads * config.head_dim;
        let shared = config.num_key_value_heads * config.head_dim;
        Self {
            q_proj: init.linear(hidden, width, device),
            gate_proj: init.linear(hidden, width, device),
            k_proj: init.linear(hidden, shared, device),
            v_proj: init.linear(hidden, shared, device),
            q_norm: init.norm(config.head_dim, device),
            k_norm: init.norm(config.head_dim, device),
            o_proj: init.residual_linear(width, hidden, device),
            config: config.clone(),
        }
    }
}

/// A layer's projections of some positions, heads at their places.
struct Projected<B: Backend> {
    /// `[batch, seq, num_attention_heads, head_dim]`.
    query: Tensor<B, 4>,
    /// `[batch, seq, num_key_value_heads, head_dim]`.
    key: Tensor<B, 4>,
    /// `[batch, seq, num_key_value_heads, head_dim]`.
    value: Tensor<B, 4>,
    /// `[batch, seq, num_attention_heads * head_dim]`.
    gate: Tensor<B, 3>,
}

impl<B: Ops> GatedAttention<B> {
    fn heads(&self, projected: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, seq, width] = projected.dims();
        let dim = self.config.head_dim;
        projected.reshape([batch, seq, width / dim, dim])
    }

    fn placed(
        &self,
        projected: Tensor<B, 3>,
        norm: &RmsNorm<B>,
        context: &Context<B>,
    ) -> Tensor<B, 4> {
        let heads = norm.forward(self.heads(projected));
        context.rotation.apply_to_halves(heads)
    }

    fn project(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Projected<B> {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj, &self.gate_proj];
        let [query, key, value, gate] = Linear::forward_each(projections, hidden);
        Projected {
            query: self.placed(query, &self.q_norm, context),
            key: self.placed(key, &self.k_norm, context),
            value: self.heads(value),
            gate,
        }
    }

    /// One head for every query head.
    fn repeated(&self, heads: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, shared, _] = heads.dims();
        let each = self.config.num_attention_heads / shared;
        B::share_heads(heads, each, HeadSharing::Grouped)
    }

    fn gated(&self, gate: Tensor<B, 3>, attended: Tensor<B, 4>) -> Tensor<B, 3> {
        let dims = gate.dims();
        self.o_proj.forward(attended.reshape(dims) * sigmoid(gate))
    }

    fn scale(&self) -> f64 {
        (self.config.head_dim as f64).powf(-0.5)
    }

    /// Mixes the next positions of one past, and adds them to it.
    fn extend_one(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut GatedAttentionCache<B>,
    ) -> Tensor<B, 3> {
        let device = hidden.device();
        let new = self.project(hidden, context);
        let [key, value] = match cache.past.take() {
            Some([key, value]) => [
                Tensor::cat(vec![key, new.key], 1),
                Tensor::cat(vec![value, new.value], 1),
            ],
            None => [new.key, new.value],
        };
        let [batch, seq, ..] = key.dims();
        let heads = self.config.num_attention_heads;
        // attention that forgets nothing
        let input = Forgetting {
            query: new.query,
            key: key.clone(),
            value: self.repeated(value.clone()),
            kept: Tensor::zeros([batch, seq, heads], (&device, DType::F32)),
        };
        let attended = B::forgetting_attention(input, &AttentionMask::Causal, self.scale());
        cache.past = Some([key, value]);
        self.gated(new.gate, attended)
    }
}

impl<B: Ops> TokenMixer<B> for GatedAttention<B> {
    type Cache = GatedAttentionCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let projected = self.project(hidden, context);
        let attended = B::causal_attention(
            projected.query,
            self.repeated(projected.key),
            self.repeated(projected.value),
            &context.mask,
            AttentionOptions::scaled(self.scale()),
        );
        self.gated(projected.gate, attended)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, GatedAttentionCache<B>>],
    ) -> Tensor<B, 3> {
        one_by_one(hidden, sequences, |rows, range, past| {
            self.extend_one(rows, &context.rows(range), past)
        })
    }

    fn empty_cache(&self, _: &CacheConfig) -> GatedAttentionCache<B> {
        GatedAttentionCache { past: None }
    }
}
