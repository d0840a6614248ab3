//! Grouped-query attention: several query heads share the keys and values of one.
//!
//! Ainslie et al. (<https://arxiv.org/abs/2305.13245>); with one key-value head per query head it is plain
//! multi-head attention. Sliding window: Mistral (<https://arxiv.org/abs/2310.06825>), section 2.

mod config;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::{Ops, paged};

use super::TokenMixer;
use crate::model::cache::{CacheConfig, Extension, Pages, Past, REVERSIBLE};
use crate::model::context::Context;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
pub use config::GqaConfig;

/// Grouped-query attention.
#[derive(Module, Debug)]
pub struct Gqa<B: Backend> {
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub q_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub v_proj: Linear<B>,
    /// Back to the residual stream, `[num_attention_heads * head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    head_dim: usize,
    #[module(skip)]
    options: AttentionOptions,
}

/// The past of one [`Gqa`] layer: `2 * num_key_value_heads * head_dim` numbers per token. With a sliding
/// window, pages that no query can see any more are given back.
#[derive(Debug, Clone)]
pub struct KeyValueCache<B: Backend> {
    /// Rotated.
    keys: Pages<B>,
    values: Pages<B>,
    /// The shortest length at which all that the next query sees is still there.
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

/// Rotated keys, and values, `[batch, seq, num_key_value_heads, head_dim]` each.
struct KeyValues<B: Backend> {
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
}

impl<B: Backend> Gqa<B> {
    pub(super) fn init(config: &GqaConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let (hidden, dim) = (init.config().hidden_size, config.head_dim);
        let query = config.num_attention_heads * dim;
        let key = config.num_key_value_heads * dim;
        let bias = Bias::when(config.attention_bias);
        Self {
            q_proj: init.linear(hidden, query, device).with(bias),
            k_proj: init.linear(hidden, key, device).with(bias),
            v_proj: init.linear(hidden, key, device).with(bias),
            o_proj: init.residual_linear(query, hidden, device).with(bias),
            head_dim: dim,
            options: AttentionOptions {
                scale: (dim as f64).powf(-0.5),
                window: config.sliding_window,
            },
        }
    }
}

impl<B: Ops> Gqa<B> {
    /// Rotated queries, `[batch, seq, num_attention_heads, head_dim]`, and what they look at.
    fn project(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> (Tensor<B, 4>, KeyValues<B>) {
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let [query, key, value] = Linear::forward_each(projections, hidden);
        let rotated = |projected| context.rotation.apply(self.heads(projected));
        let seen = KeyValues {
            key: rotated(key),
            value: self.heads(value),
        };
        (rotated(query), seen)
    }

    fn heads(&self, projected: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, seq, width] = projected.dims();
        projected.reshape([batch, seq, width / self.head_dim, self.head_dim])
    }

    /// Attention of whole sequences, keys and values repeated for every query head.
    fn whole(&self, query: Tensor<B, 4>, seen: KeyValues<B>, context: &Context<B>) -> Tensor<B, 3> {
        let [batch, seq, heads, dim] = query.dims();
        let [_, _, shared, _] = seen.key.dims();
        let repeated = |tensor: Tensor<B, 4>| {
            tensor
                .unsqueeze_dim::<5>(3)
                .expand([batch, seq, shared, heads / shared, dim])
                .reshape([batch, seq, heads, dim])
        };
        let (key, value) = (repeated(seen.key), repeated(seen.value));
        let output = B::causal_attention(query, key, value, &context.mask, self.options);
        self.o_proj
            .forward(output.reshape([batch, seq, heads * dim]))
    }
}

impl<B: Ops> TokenMixer<B> for Gqa<B> {
    type Cache = KeyValueCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let (query, seen) = self.project(hidden, context);
        self.whole(query, seen, context)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, KeyValueCache<B>>],
    ) -> Tensor<B, 3> {
        let (query, new) = self.project(hidden, context);
        let [_, tokens, heads, dim] = query.dims();
        let (keys, values): (Tensor<B, 3>, Tensor<B, 3>) =
            (new.key.squeeze_dim(0), new.value.squeeze_dim(0));
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
        let output = B::paged_attention(query.squeeze_dim(0), &pasts, self.options);
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
        self.o_proj
            .forward(output.reshape([1, tokens, heads * dim]))
    }

    fn empty_cache(&self, config: &CacheConfig) -> KeyValueCache<B> {
        KeyValueCache::new(*config)
    }
}

#[cfg(test)]
mod tests;
