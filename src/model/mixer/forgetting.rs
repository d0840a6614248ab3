//! Softmax attention that forgets: FoX Pro, without positions.
//!
//! Forgetting Transformer (<https://arxiv.org/abs/2503.02130>), section 3, in the form of Genesis-152M:
//! keys alone are shared by heads, and the gate of the output is SiLU.

mod cache;

use burn::module::{Module, Param};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::forgetting;
use serde::{Deserialize, Serialize};

use super::TokenMixer;
use super::short_conv::ShortConv;
use crate::model::cache::{CacheConfig, Extension, one_by_one};
use crate::model::context::Context;
use crate::model::error::ModelConfigError;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::norm::RmsNorm;
pub use cache::ForgettingCache;
use cache::Seen;

/// Configuration of [`Forgetting`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgettingConfig {
    /// Number of query, value and gate heads.
    pub num_attention_heads: usize,
    /// Number of key heads, each shared by as many neighbouring heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of tokens that the convolutions of keys and values see.
    #[serde(default = "ForgettingConfig::default_conv_kernel_size")]
    pub conv_kernel_size: usize,
    /// Added to the mean square in the normalizations of heads.
    #[serde(default = "ForgettingConfig::default_norm_eps")]
    pub norm_eps: f64,
}

impl ForgettingConfig {
    fn default_conv_kernel_size() -> usize {
        4
    }

    fn default_norm_eps() -> f64 {
        1e-6
    }

    pub(crate) fn validate(&self) -> Result<(), ModelConfigError> {
        let sizes = [
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ];
        for (field, value) in sizes {
            ModelConfigError::in_range(field, value, 1, usize::MAX)?;
        }
        ModelConfigError::in_range("conv_kernel_size", self.conv_kernel_size, 2, usize::MAX)?;
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        ModelConfigError::multiple("num_attention_heads", heads, shared)?;
        ModelConfigError::positive("norm_eps", self.norm_eps)
    }
}

/// Forgetting attention.
#[derive(Module, Debug)]
pub struct Forgetting<B: Backend> {
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub q_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub v_proj: Linear<B>,
    /// To the forget gates, `[hidden_size, num_attention_heads]`.
    pub fgate_proj: Linear<B>,
    /// To the gate of the output, `[hidden_size, num_attention_heads * head_dim]`.
    pub ogate_proj: Linear<B>,
    /// Before the keys.
    pub k_conv: ShortConv<B>,
    /// Before the values.
    pub v_conv: ShortConv<B>,
    /// Scales the normalized queries, `[num_attention_heads * head_dim]`.
    pub q_norm: Param<Tensor<B, 1>>,
    /// Scales the normalized keys, `[num_key_value_heads * head_dim]`.
    pub k_norm: Param<Tensor<B, 1>>,
    /// Normalizes what a head reads, `[head_dim]`.
    pub o_norm: RmsNorm<B>,
    /// Back to the residual stream, `[num_attention_heads * head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    #[module(skip)]
    config: ForgettingConfig,
}

impl<B: Backend> Forgetting<B> {
    pub(super) fn init(
        config: &ForgettingConfig,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Self {
        let hidden = init.config().hidden_size;
        let width = config.num_attention_heads * config.head_dim;
        let shared = config.num_key_value_heads * config.head_dim;
        let taps = config.conv_kernel_size;
        Self {
            q_proj: init.linear(hidden, width, device),
            k_proj: init.linear(hidden, shared, device),
            v_proj: init.linear(hidden, width, device),
            fgate_proj: init
                .linear(hidden, config.num_attention_heads, device)
                .with(Bias::Zero),
            ogate_proj: init.linear(hidden, width, device),
            k_conv: ShortConv::init(shared, taps, init, device),
            v_conv: ShortConv::init(width, taps, init, device),
            q_norm: init.ones(width, device),
            k_norm: init.ones(shared, device),
            o_norm: RmsNorm::new(init.ones(config.head_dim, device), config.norm_eps),
            o_proj: init.residual_linear(width, hidden, device),
            config: config.clone(),
        }
    }
}

impl<B: Ops> Forgetting<B> {
    /// Every head at a root mean square of one, then scaled, `[batch, seq, heads, head_dim]`.
    fn normalized(&self, heads: Tensor<B, 3>, weight: &Param<Tensor<B, 1>>) -> Tensor<B, 4> {
        let [batch, seq, width] = heads.dims();
        let dim = self.config.head_dim;
        let rows = heads.reshape([batch * seq * width / dim, dim]);
        let one = Tensor::ones([dim], (&rows.device(), rows.dtype()));
        let normalized = B::rms_norm(rows, one, self.config.norm_eps).reshape([batch * seq, width]);
        (normalized * weight.val().unsqueeze()).reshape([batch, seq, width / dim, dim])
    }

    /// Keys, values and gates of some positions after `past`.
    fn seen(
        &self,
        hidden: Tensor<B, 3>,
        mask: &AttentionMask<B>,
        past: Option<&Seen<B>>,
    ) -> Seen<B> {
        let [batch, seq, _] = hidden.dims();
        let taps = self.config.conv_kernel_size;
        let tails = past.map(|past| past.tails(taps));
        let (key_tail, value_tail) = tails.unzip();
        let raw_key = self
            .k_conv
            .padded(self.k_proj.forward(hidden.clone()), key_tail);
        let raw_value = self
            .v_conv
            .padded(self.v_proj.forward(hidden.clone()), value_tail);
        let key = B::short_conv(raw_key.clone(), self.k_conv.weight.val(), mask);
        let value = B::short_conv(raw_value.clone(), self.v_conv.weight.val(), mask);
        let gates = self.fgate_proj.forward(hidden).cast(DType::F32);
        let kept = log_sigmoid(gates).cumsum(1);
        let dim = self.config.head_dim;
        let [_, _, width] = value.dims();
        Seen {
            key: self.normalized(key, &self.k_norm),
            value: value.reshape([batch, seq, width / dim, dim]),
            kept: match past {
                Some(past) => {
                    let [_, len, _] = past.kept.dims();
                    kept + past.kept.clone().narrow(1, len - 1, 1)
                }
                None => kept,
            },
            raw_key,
            raw_value,
        }
    }

    /// Attention of the last positions of `seen`, which are those of `hidden`.
    fn attend(
        &self,
        hidden: Tensor<B, 3>,
        seen: &Seen<B>,
        mask: &AttentionMask<B>,
    ) -> Tensor<B, 3> {
        let [batch, seq, _] = hidden.dims();
        let input = self.given(hidden.clone(), seen);
        let scale = (self.config.head_dim as f64).powf(-0.5);
        let output = B::forgetting_attention(input, mask, scale);
        let gate = self.ogate_proj.forward(hidden);
        let [_, _, width] = gate.dims();
        let rows = [batch * seq, width];
        let normalized = self.o_norm.forward(output).reshape(rows);
        let gated = B::swiglu(gate.reshape(rows), normalized);
        self.o_proj.forward(gated.reshape([batch, seq, width]))
    }

    /// What the attention of a whole sequence is given.
    pub fn inputs(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> forgetting::Forgetting<B> {
        let seen = self.seen(hidden.clone(), &context.mask, None);
        self.given(hidden, &seen)
    }

    fn given(&self, hidden: Tensor<B, 3>, seen: &Seen<B>) -> forgetting::Forgetting<B> {
        forgetting::Forgetting {
            query: self.normalized(self.q_proj.forward(hidden), &self.q_norm),
            key: seen.key.clone(),
            value: seen.value.clone(),
            kept: seen.kept.clone(),
        }
    }

    /// Mixes the next positions of one past, and adds them to it.
    fn extend_one(&self, hidden: Tensor<B, 3>, cache: &mut ForgettingCache<B>) -> Tensor<B, 3> {
        let mask = AttentionMask::Causal;
        let past = cache.seen.take();
        let new = self.seen(hidden.clone(), &mask, past.as_ref());
        let seen = match past {
            Some(past) => past.followed_by(new, self.config.conv_kernel_size),
            None => new,
        };
        let output = self.attend(hidden, &seen, &mask);
        cache.seen = Some(seen.lightened(self.config.conv_kernel_size));
        output
    }
}

impl<B: Ops> TokenMixer<B> for Forgetting<B> {
    type Cache = ForgettingCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let seen = self.seen(hidden.clone(), &context.mask, None);
        self.attend(hidden, &seen, &context.mask)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        _: &Context<B>,
        sequences: &mut [Extension<'_, ForgettingCache<B>>],
    ) -> Tensor<B, 3> {
        one_by_one(hidden, sequences, |rows, _, past| {
            self.extend_one(rows, past)
        })
    }

    fn empty_cache(&self, _: &CacheConfig) -> ForgettingCache<B> {
        ForgettingCache { seen: None }
    }
}
