//! Grouped-query attention (GQA): several query heads share one key and value head.
//!
//! Ainslie et al. (<https://arxiv.org/abs/2305.13245>); with one key-value head per query head it is multi-head
//! attention. Sliding window: Mistral (<https://arxiv.org/abs/2310.06825>), section 2. Normalized queries and keys:
//! per head in Qwen3 (<https://arxiv.org/abs/2505.09388>), over all heads in OLMoE
//! (<https://arxiv.org/abs/2409.02060>). Output gate: <https://arxiv.org/abs/2505.06708>.

mod config;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::heads::HeadSharing;
use darkhorse_backends::{Ops, paged};

use super::TokenMixer;
use crate::model::cache::{CacheConfig, Extension, Pages, Past, REVERSIBLE};
use crate::model::context::Context;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
use crate::model::norm::RmsNorm;
use crate::model::rope::RotaryPairs;
pub use config::{Biased, GqaConfig, NormOver};

/// Grouped-query attention.
#[derive(Module, Debug)]
pub struct Gqa<B: Backend> {
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub q_proj: Linear<B>,
    /// Projection to the output gate, `[hidden_size, num_attention_heads * head_dim]`.
    pub gate_proj: Option<Linear<B>>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub v_proj: Linear<B>,
    /// Normalizes queries, `[head_dim]` or `[num_attention_heads * head_dim]`.
    pub q_norm: Option<RmsNorm<B>>,
    /// Normalizes keys, `[head_dim]` or `[num_key_value_heads * head_dim]`.
    pub k_norm: Option<RmsNorm<B>>,
    /// Output projection, `[num_attention_heads * head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    head_dim: usize,
    #[module(skip)]
    rotary_pairs: RotaryPairs,
    #[module(skip)]
    clip_qkv: Option<f64>,
    #[module(skip)]
    options: AttentionOptions,
}

/// Cache of one [`Gqa`] layer: `2 * num_key_value_heads * head_dim` values per token. With a sliding window, pages
/// that no later query can see are freed.
#[derive(Debug, Clone)]
pub struct KeyValueCache<B: Backend> {
    /// Rotated keys.
    keys: Pages<B>,
    values: Pages<B>,
    /// Shortest length, besides 0, at which the next query still has its whole window.
    earliest: usize,
}

impl<B: Backend> KeyValueCache<B> {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self {
            keys: Pages::new(config),
            values: Pages::new(config),
            earliest: 0,
        }
    }
}

impl<B: Backend> Past for KeyValueCache<B> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn earliest(&self) -> usize {
        self.earliest
    }

    fn truncate(&mut self, len: usize) {
        if len == 0 {
            self.earliest = 0;
        }
        assert!(len >= self.earliest, "the window has moved past {len}");
        self.keys.truncate(len);
        self.values.truncate(len);
    }

    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes() + self.values.memory_bytes()
    }
}

/// Projections of some positions.
struct Projected<B: Backend> {
    /// Rotated, `[batch, seq, num_attention_heads, head_dim]`.
    query: Tensor<B, 4>,
    /// Rotated, `[batch, seq, num_key_value_heads, head_dim]`.
    key: Tensor<B, 4>,
    /// `[batch, seq, num_key_value_heads, head_dim]`.
    value: Tensor<B, 4>,
    /// Output gate before its sigmoid, `[batch, seq, num_attention_heads * head_dim]`.
    gate: Option<Tensor<B, 3>>,
}

impl<B: Backend> Gqa<B> {
    pub(super) fn init(config: &GqaConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let (hidden, dim) = (init.config().hidden_size, config.head_dim);
        let query = config.num_attention_heads * dim;
        let key = config.num_key_value_heads * dim;
        let bias = Bias::when(config.attention_bias);
        let output_bias = Bias::when(config.has_output_bias());
        let [q_norm, k_norm] = match config.norm_widths() {
            Some(widths) => widths.map(|width| Some(init.norm(width, device))),
            None => [None, None],
        };
        Self {
            q_proj: init.linear(hidden, query, device).with(bias),
            gate_proj: config
                .output_gate
                .then(|| init.linear(hidden, query, device).with(bias)),
            k_proj: init.linear(hidden, key, device).with(bias),
            v_proj: init.linear(hidden, key, device).with(bias),
            q_norm,
            k_norm,
            o_proj: init
                .residual_linear(query, hidden, device)
                .with(output_bias),
            head_dim: dim,
            rotary_pairs: config.rotary_pairs,
            clip_qkv: config.clip_qkv,
            options: AttentionOptions {
                scale: (dim as f64).powf(-0.5),
                window: config.sliding_window,
            },
        }
    }
}

impl<B: Ops> Gqa<B> {
    fn project(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Projected<B> {
        let [q_proj, k_proj, v_proj] = [&self.q_proj, &self.k_proj, &self.v_proj];
        let (query, key, value, gate) = match &self.gate_proj {
            Some(gate_proj) => {
                let projections = [q_proj, k_proj, v_proj, gate_proj];
                let [query, key, value, gate] = Linear::forward_each(projections, hidden);
                (query, key, value, Some(gate))
            }
            None => {
                let projections = [q_proj, k_proj, v_proj];
                let [query, key, value] = Linear::forward_each(projections, hidden);
                (query, key, value, None)
            }
        };
        let placed = |projected, norm: &Option<RmsNorm<B>>| {
            let normalized = match norm {
                Some(norm) => {
                    let [width] = norm.weight.dims();
                    norm.forward(parts(projected, width))
                }
                None => parts(projected, self.head_dim),
            };
            let heads = self.clipped(normalized);
            context.rotation.apply_to_leading(self.rotary_pairs, heads)
        };
        Projected {
            query: placed(query, &self.q_norm),
            key: placed(key, &self.k_norm),
            value: self.clipped(parts(value, self.head_dim)),
            gate,
        }
    }

    /// Clips values to `clip_qkv` and splits them into heads, `[batch, seq, heads, head_dim]`.
    fn clipped(&self, numbers: Tensor<B, 4>) -> Tensor<B, 4> {
        let numbers = match self.clip_qkv {
            Some(most) => numbers.clamp(-most, most),
            None => numbers,
        };
        let [batch, seq, count, width] = numbers.dims();
        let heads = count * width / self.head_dim;
        numbers.reshape([batch, seq, heads, self.head_dim])
    }

    /// Gates the attention output, `[batch, seq, num_attention_heads * head_dim]`, and applies the output
    /// projection.
    fn finish(&self, read: Tensor<B, 3>, gate: Option<Tensor<B, 3>>) -> Tensor<B, 3> {
        self.o_proj.forward(match gate {
            Some(gate) => read * sigmoid(gate),
            None => read,
        })
    }
}

/// Splits rows into parts of `width` values, `[batch, seq, parts, width]`.
fn parts<B: Backend>(projected: Tensor<B, 3>, width: usize) -> Tensor<B, 4> {
    let [batch, seq, whole] = projected.dims();
    projected.reshape([batch, seq, whole / width, width])
}

impl<B: Ops> TokenMixer<B> for Gqa<B> {
    type Cache = KeyValueCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let projected = self.project(hidden, context);
        let [batch, seq, heads, dim] = projected.query.dims();
        // repeats keys and values for every query head
        let repeated = |shared: Tensor<B, 4>| {
            let [_, _, count, _] = shared.dims();
            match heads / count {
                1 => shared,
                each => B::share_heads(shared, each, HeadSharing::Grouped),
            }
        };
        let read = B::causal_attention(
            projected.query,
            repeated(projected.key),
            repeated(projected.value),
            &context.mask,
            self.options,
        );
        self.finish(read.reshape([batch, seq, heads * dim]), projected.gate)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, KeyValueCache<B>>],
    ) -> Tensor<B, 3> {
        let projected = self.project(hidden, context);
        let [_, tokens, heads, dim] = projected.query.dims();
        let keys: Tensor<B, 3> = projected.key.squeeze_dim(0);
        let values: Tensor<B, 3> = projected.value.squeeze_dim(0);
        let mut at = 0;
        for sequence in sequences.iter_mut() {
            let rows = |of: &Tensor<B, 3>| of.clone().narrow(0, at, sequence.new);
            sequence.past.keys.append(rows(&keys));
            sequence.past.values.append(rows(&values));
            at += sequence.new;
        }
        let pasts = sequences.iter().map(|sequence| paged::Past {
            keys: sequence.past.keys.pages(),
            values: paged::Values::Pages(sequence.past.values.pages()),
            len: sequence.past.keys.held(),
            new: sequence.new,
        });
        let pasts: Vec<_> = pasts.collect();
        let read = B::paged_attention(projected.query.squeeze_dim(0), &pasts, self.options);
        if let Some(window) = self.options.window {
            for sequence in sequences {
                let past = &mut *sequence.past;
                past.keys.keep_last(window + REVERSIBLE);
                past.values.keep_last(window + REVERSIBLE);
                if past.keys.earliest() > 0 {
                    past.earliest = past.keys.earliest() + window - 1;
                }
            }
        }
        self.finish(read.reshape([1, tokens, heads * dim]), projected.gate)
    }

    fn empty_cache(&self, config: &CacheConfig) -> KeyValueCache<B> {
        KeyValueCache::new(*config)
    }

    fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            q_proj: scope.linear("q_proj", self.q_proj),
            gate_proj: self.gate_proj.map(|it| scope.linear("gate_proj", it)),
            k_proj: scope.linear("k_proj", self.k_proj),
            v_proj: scope.linear("v_proj", self.v_proj),
            o_proj: scope.linear("o_proj", self.o_proj),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
