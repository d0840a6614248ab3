//! Grouped-query attention: several query heads share the keys and values of one.
//!
//! Ainslie et al. (<https://arxiv.org/abs/2305.13245>); with one key-value head per query head it is plain
//! multi-head attention. Sliding window: Mistral (<https://arxiv.org/abs/2310.06825>), section 2.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionOptions;
use serde::{Deserialize, Serialize};

use super::TokenMixer;
use crate::model::context::Context;
use crate::model::error::ModelConfigError;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};

/// Configuration of [`Gqa`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GqaConfig {
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, each shared by as many neighbouring query heads.
    pub num_key_value_heads: usize,
    /// Width of a head; rotary positions turn all of it.
    pub head_dim: usize,
    /// Whether the four projections have a bias.
    #[serde(default)]
    pub attention_bias: bool,
    /// How many positions a query sees, its own and those just before it; absent: the whole past.
    #[serde(default)]
    pub sliding_window: Option<usize>,
}

impl GqaConfig {
    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, usize::MAX)?;
        }
        let multiples = [
            (
                "num_attention_heads",
                self.num_attention_heads,
                self.num_key_value_heads,
            ),
            ("head_dim", self.head_dim, 2),
        ];
        for (field, value, of) in multiples {
            if !value.is_multiple_of(of) {
                return Err(ModelConfigError::NotAMultiple {
                    field: field.into(),
                    value,
                    of,
                });
            }
        }
        Ok(())
    }
}

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
/// window no more tokens than it holds.
#[derive(Debug, Clone, Default)]
pub struct KeyValueCache<B: Backend> {
    past: Option<KeyValues<B>>,
}

/// What positions leave behind for later ones, `[batch, seq, num_key_value_heads, head_dim]` each.
#[derive(Debug, Clone)]
struct KeyValues<B: Backend> {
    /// Rotated.
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
}

impl<B: Backend> KeyValues<B> {
    fn followed_by(self, new: Self) -> Self {
        Self {
            key: Tensor::cat(vec![self.key, new.key], 1),
            value: Tensor::cat(vec![self.value, new.value], 1),
        }
    }

    /// The last positions, as many as a query may see.
    fn within(self, window: Option<usize>) -> Self {
        let [_, total, _, _] = self.key.dims();
        match window {
            Some(window) if window < total => Self {
                key: self.key.narrow(1, total - window, window),
                value: self.value.narrow(1, total - window, window),
            },
            _ => self,
        }
    }
}

impl<B: Backend> Gqa<B> {
    pub(crate) fn init(init: &Initializers<'_>, device: &B::Device) -> Self {
        let model = init.config();
        let config = model.mixer.gqa().expect("the configuration was validated");
        let (hidden, dim) = (model.hidden_size, config.head_dim);
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
    /// Rotated queries, `[batch, seq, num_attention_heads, head_dim]`.
    fn query(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 4> {
        let query = self.heads(self.q_proj.forward(hidden));
        context.rotation.apply(query)
    }

    fn key_values(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> KeyValues<B> {
        let key = self.heads(self.k_proj.forward(hidden.clone()));
        KeyValues {
            key: context.rotation.apply(key),
            value: self.heads(self.v_proj.forward(hidden)),
        }
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

    /// Attention of the last positions of `seen`, the query heads of a group as rows of one product.
    fn latest(&self, query: Tensor<B, 4>, seen: &KeyValues<B>) -> Tensor<B, 3> {
        let [batch, new, heads, dim] = query.dims();
        let [_, total, shared, _] = seen.key.dims();
        let group = heads / shared;
        let dtype = query.dtype();
        let query = query
            .reshape([batch, new, shared, group, dim])
            .permute([0, 2, 3, 1, 4])
            .reshape([batch, shared, group * new, dim]);
        let scores = query
            .matmul(seen.key.clone().permute([0, 2, 3, 1]))
            .cast(DType::F32)
            .mul_scalar(self.options.scale)
            .reshape([batch, shared, group, new, total]);
        let hidden = self
            .hidden_positions(new, total, &scores.device())
            .unsqueeze::<5>()
            .expand([batch, shared, group, new, total]);
        let attended = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 4)
            .cast(dtype)
            .reshape([batch, shared, group * new, total]);
        let output = attended
            .matmul(seen.value.clone().swap_dims(1, 2))
            .reshape([batch, shared, group, new, dim])
            .permute([0, 3, 1, 2, 4]);
        self.o_proj
            .forward(output.reshape([batch, new, heads * dim]))
    }

    /// True where one of the last `new` of `total` positions must not see another, `[new, total]`.
    fn hidden_positions(&self, new: usize, total: usize, device: &B::Device) -> Tensor<B, 2, Bool> {
        let before = (total - new) as i64;
        let future = Tensor::tril_mask([new, total], before, device);
        match self.options.window {
            Some(window) if window < total => {
                let left_behind =
                    Tensor::triu_mask([new, total], before + 1 - window as i64, device);
                future.bool_or(left_behind)
            }
            _ => future,
        }
    }
}

impl<B: Ops> TokenMixer<B> for Gqa<B> {
    type Cache = KeyValueCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let query = self.query(hidden.clone(), context);
        self.whole(query, self.key_values(hidden, context), context)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut KeyValueCache<B>,
    ) -> Tensor<B, 3> {
        let query = self.query(hidden.clone(), context);
        let new = self.key_values(hidden, context);
        let (output, seen) = match cache.past.take() {
            None => (self.whole(query, new.clone(), context), new),
            Some(past) => {
                let seen = past.followed_by(new);
                (self.latest(query, &seen), seen)
            }
        };
        cache.past = Some(seen.within(self.options.window));
        output
    }

    fn empty_cache(&self) -> KeyValueCache<B> {
        KeyValueCache { past: None }
    }
}

#[cfg(test)]
mod tests;
