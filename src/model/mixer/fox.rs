//! Forgetting attention: softmax attention with a forget gate, without rotary positions (FoX Pro).
//!
//! Forgetting Transformer (<https://arxiv.org/abs/2503.02130>), section 3, in the form of Genesis-152M: only keys
//! are shared between heads, and the output gate is SiLU.

mod cache;
mod config;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::activation::log_sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::forgetting;

use super::TokenMixer;
use super::short_conv::ShortConv;
use crate::model::cache::{CacheConfig, Extension, by_sequence};
use crate::model::context::Context;
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrices::Scope;
use crate::model::norm::RmsNorm;
pub use cache::FoxCache;
pub use config::FoxConfig;

/// Forgetting attention.
#[derive(Module, Debug)]
pub struct Fox<B: Backend> {
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub q_proj: Linear<B>,
    /// `[hidden_size, num_key_value_heads * head_dim]`.
    pub k_proj: Linear<B>,
    /// `[hidden_size, num_attention_heads * head_dim]`.
    pub v_proj: Linear<B>,
    /// Projection to the forget gates, `[hidden_size, num_attention_heads]`.
    pub fgate_proj: Linear<B>,
    /// Projection to the output gate, `[hidden_size, num_attention_heads * head_dim]`.
    pub ogate_proj: Linear<B>,
    /// Convolution of the projected keys.
    pub k_conv: ShortConv<B>,
    /// Convolution of the projected values.
    pub v_conv: ShortConv<B>,
    /// Scale of the normalized queries, `[num_attention_heads * head_dim]`.
    pub q_norm: Param<Tensor<B, 1>>,
    /// Scale of the normalized keys, `[num_key_value_heads * head_dim]`.
    pub k_norm: Param<Tensor<B, 1>>,
    /// Normalizes the output of every head, `[head_dim]`.
    pub o_norm: RmsNorm<B>,
    /// Output projection, `[num_attention_heads * head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    #[module(skip)]
    config: FoxConfig,
}

impl<B: Backend> Fox<B> {
    pub(super) fn init(config: &FoxConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
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

/// Projections of some positions.
struct Projected<B: Backend> {
    query: Tensor<B, 3>,
    key: Tensor<B, 3>,
    value: Tensor<B, 3>,
    forget: Tensor<B, 3>,
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
            forget: of(&self.forget),
            gate: of(&self.gate),
        }
    }
}

/// Keys, values and gates of some positions.
struct Seen<B: Backend> {
    /// `[batch, seq, key_heads, head_dim]`.
    key: Tensor<B, 4>,
    /// `[batch, seq, heads, head_dim]`.
    value: Tensor<B, 4>,
    /// Cumulative log of the forget gates from the first of these positions on, f32, `[batch, seq, heads]`.
    kept: Tensor<B, 3>,
}

impl<B: Ops> Fox<B> {
    /// RMS-normalizes every head and applies the scale, `[batch, seq, heads, head_dim]`.
    fn normalized(&self, heads: Tensor<B, 3>, weight: &Param<Tensor<B, 1>>) -> Tensor<B, 4> {
        let [batch, seq, width] = heads.dims();
        let dim = self.config.head_dim;
        let rows = heads.reshape([batch * seq * width / dim, dim]);
        let one = Tensor::ones([dim], (&rows.device(), rows.dtype()));
        let normalized = B::rms_norm(rows, one, self.config.norm_eps).reshape([batch * seq, width]);
        (normalized * weight.val().unsqueeze()).reshape([batch, seq, width / dim, dim])
    }

    fn project(&self, hidden: Tensor<B, 3>) -> Projected<B> {
        let [query, key, value, forget, gate] = Linear::forward_each(
            [
                &self.q_proj,
                &self.k_proj,
                &self.v_proj,
                &self.fgate_proj,
                &self.ogate_proj,
            ],
            hidden,
        );
        Projected {
            query,
            key,
            value,
            forget,
            gate,
        }
    }

    /// Keys, values and gates of some positions, with the padded inputs of the convolutions; `tails` are the inputs
    /// before.
    fn seen(
        &self,
        projected: &Projected<B>,
        mask: &AttentionMask<B>,
        tails: Option<[Tensor<B, 3>; 2]>,
    ) -> (Seen<B>, [Tensor<B, 3>; 2]) {
        let [key_tail, value_tail] = match tails {
            Some(tails) => tails.map(Some),
            None => [None, None],
        };
        let raw_key = self.k_conv.padded(projected.key.clone(), key_tail);
        let raw_value = self.v_conv.padded(projected.value.clone(), value_tail);
        let key = B::short_conv(raw_key.clone(), self.k_conv.weight.val(), mask);
        let value = B::short_conv(raw_value.clone(), self.v_conv.weight.val(), mask);
        let dim = self.config.head_dim;
        let [batch, seq, width] = value.dims();
        let seen = Seen {
            key: self.normalized(key, &self.k_norm),
            value: value.reshape([batch, seq, width / dim, dim]),
            kept: log_sigmoid(projected.forget.clone().cast(DType::F32)).cumsum(1),
        };
        (seen, [raw_key, raw_value])
    }

    fn given(&self, query: Tensor<B, 3>, seen: Seen<B>) -> forgetting::Forgetting<B> {
        forgetting::Forgetting {
            query: self.normalized(query, &self.q_norm),
            key: seen.key,
            value: seen.value,
            kept: seen.kept,
        }
    }

    fn scale(&self) -> f64 {
        (self.config.head_dim as f64).powf(-0.5)
    }

    /// Normalizes, gates and projects the output of the heads, `[batch, seq, heads, head_dim]`.
    fn finish(&self, read: Tensor<B, 4>, gate: Tensor<B, 3>) -> Tensor<B, 3> {
        let dims @ [batch, seq, width] = gate.dims();
        let rows = [batch * seq, width];
        let normalized = self.o_norm.forward(read).reshape(rows);
        let gated = B::swiglu(gate.reshape(rows), normalized);
        self.o_proj.forward(gated.reshape(dims))
    }

    /// Inputs of the attention for whole sequences.
    pub fn inputs(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> forgetting::Forgetting<B> {
        let projected = self.project(hidden);
        let (seen, _) = self.seen(&projected, &context.mask, None);
        self.given(projected.query, seen)
    }

    /// Attends from the next positions of one cache, `[batch, seq, heads, head_dim]`, and appends them to it.
    fn advance(&self, projected: Projected<B>, cache: &mut FoxCache<B>) -> Tensor<B, 4> {
        let [batch, new, width] = projected.query.dims();
        let tails = cache.tails(self.config.conv_kernel_size);
        let (seen, raw) = self.seen(&projected, &AttentionMask::Causal, tails);
        cache.append(seen, raw, self.config.conv_kernel_size);
        let dim = self.config.head_dim;
        let query = self.normalized(projected.query, &self.q_norm);
        let query = cache::by_position(query);
        let read = B::forgetting_paged(query, &cache.seen(), self.scale());
        read.reshape([new, batch, width / dim, dim]).swap_dims(0, 1)
    }
}

impl<B: Ops> TokenMixer<B> for Fox<B> {
    type Cache = FoxCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let projected = self.project(hidden);
        let (seen, _) = self.seen(&projected, &context.mask, None);
        let input = self.given(projected.query, seen);
        let read = B::forgetting_attention(input, &context.mask, self.scale());
        self.finish(read, projected.gate)
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        _: &Context<B>,
        sequences: &mut [Extension<'_, FoxCache<B>>],
    ) -> Tensor<B, 3> {
        let projected = self.project(hidden);
        let read = by_sequence(sequences, |range, past| {
            self.advance(projected.rows(range), past)
        });
        self.finish(read, projected.gate)
    }

    fn empty_cache(&self, config: &CacheConfig) -> FoxCache<B> {
        FoxCache::new(*config)
    }

    fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        Self {
            q_proj: scope.linear("q_proj", self.q_proj),
            k_proj: scope.linear("k_proj", self.k_proj),
            v_proj: scope.linear("v_proj", self.v_proj),
            fgate_proj: scope.linear("fgate_proj", self.fgate_proj),
            ogate_proj: scope.linear("ogate_proj", self.ogate_proj),
            o_proj: scope.linear("o_proj", self.o_proj),
            ..self
        }
    }
}
