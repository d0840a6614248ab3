//! Multi-head latent attention (MLA): keys and values are computed from one small latent per token.
//!
//! DeepSeek-V2 (<https://arxiv.org/abs/2405.04434>), section 2.1. Whole sequences use the expanded form; decoding
//! uses the absorbed form, which folds `kv_b_proj` into query and output. Pieces of long prompts use whichever form
//! is cheaper. Only the latent and one rotary key per token are cached.

mod config;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::{Ops, paged};

use super::TokenMixer;
use crate::model::cache::{CacheConfig, Extension, Pages, Past, REVERSIBLE};
use crate::model::context::Context;
use crate::model::init::Initializers;
use crate::model::linear::Linear;
use crate::model::matrices::Scope;
use crate::model::norm::RmsNorm;
pub use config::MlaConfig;

/// Number of new tokens per sequence below which the absorbed form is always used. In that form a token's bits do
/// not depend on how many tokens are read together, which speculative decoding needs.
const EXPANDED_FROM: usize = 32;
const _: () = assert!(EXPANDED_FROM > REVERSIBLE);

/// Query projection.
#[derive(Module, Debug)]
pub enum Queries<B: Backend> {
    /// Direct projection `q_proj`, `[hidden_size, heads * qk_head_dim]`.
    Direct(Linear<B>),
    /// Low-rank projection through a latent of width `q_lora_rank`.
    Latent(LatentQueries<B>),
}

/// Low-rank query projection.
#[derive(Module, Debug)]
pub struct LatentQueries<B: Backend> {
    /// Down-projection to the latent, `[hidden_size, q_lora_rank]`.
    pub q_a_proj: Linear<B>,
    /// Normalizes the latent.
    pub q_a_layernorm: RmsNorm<B>,
    /// Up-projection to the heads, `[q_lora_rank, heads * qk_head_dim]`.
    pub q_b_proj: Linear<B>,
}

/// Multi-head latent attention.
#[derive(Module, Debug)]
pub struct Mla<B: Backend> {
    /// Query projection.
    pub queries: Queries<B>,
    /// Projection to latent and rotary key, `[hidden_size, kv_lora_rank + qk_rope_head_dim]`.
    pub kv_a_proj_with_mqa: Linear<B>,
    /// Normalizes the latent.
    pub kv_a_layernorm: RmsNorm<B>,
    /// Up-projection of the latent to keys and values, `[kv_lora_rank, heads * (qk_nope_head_dim + v_head_dim)]`.
    pub kv_b_proj: Linear<B>,
    /// Output projection, `[heads * v_head_dim, hidden_size]`.
    pub o_proj: Linear<B>,
    num_attention_heads: usize,
    kv_lora_rank: usize,
    qk_nope_head_dim: usize,
    qk_rope_head_dim: usize,
    v_head_dim: usize,
    softmax_scale: f64,
}

/// Cache of one [`Mla`] layer: `kv_lora_rank + qk_rope_head_dim` values per token.
#[derive(Debug, Clone)]
pub struct LatentCache<B: Backend> {
    /// Normalized latent, then rotated key, `[page_len, 1, kv_lora_rank + qk_rope_head_dim]`.
    latents: Pages<B>,
}

impl<B: Backend> LatentCache<B> {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self {
            latents: Pages::new(config),
        }
    }
}

impl<B: Backend> Past for LatentCache<B> {
    fn len(&self) -> usize {
        self.latents.len()
    }

    fn earliest(&self) -> usize {
        self.latents.earliest()
    }

    fn truncate(&mut self, len: usize) {
        self.latents.truncate(len);
    }

    fn memory_bytes(&self) -> usize {
        self.latents.memory_bytes()
    }
}

/// Cached values of some positions.
struct Latents<B: Backend> {
    /// Normalized latent, `[batch, seq, kv_lora_rank]`.
    latent: Tensor<B, 3>,
    /// Rotated key, `[batch, seq, qk_rope_head_dim]`.
    rope_key: Tensor<B, 3>,
}

impl<B: Backend> Latents<B> {
    fn narrow(&self, at: usize, len: usize) -> Self {
        Self {
            latent: self.latent.clone().narrow(1, at, len),
            rope_key: self.rope_key.clone().narrow(1, at, len),
        }
    }

    /// Rows of the cache, `[seq, 1, kv_lora_rank + qk_rope_head_dim]`.
    fn rows(self) -> Tensor<B, 3> {
        let rows = Tensor::cat(vec![self.latent, self.rope_key], 2);
        rows.swap_dims(0, 1)
    }
}

/// Queries, split into the parts without and with rotary position.
struct HeadQueries<B: Backend> {
    /// Without position, `[batch, seq, heads, qk_nope_head_dim]`.
    nope: Tensor<B, 4>,
    /// Rotated, `[batch, seq, heads, qk_rope_head_dim]`.
    rope: Tensor<B, 4>,
}

impl<B: Backend> HeadQueries<B> {
    fn narrow(&self, at: usize, len: usize) -> Self {
        Self {
            nope: self.nope.clone().narrow(1, at, len),
            rope: self.rope.clone().narrow(1, at, len),
        }
    }
}

impl<B: Backend> Mla<B> {
    pub(super) fn init(config: &MlaConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let model = init.config();
        let (hidden, heads) = (model.hidden_size, config.num_attention_heads);
        let query = heads * config.qk_head_dim();
        Self {
            queries: match config.q_lora_rank {
                None => Queries::Direct(init.linear(hidden, query, device)),
                Some(rank) => Queries::Latent(LatentQueries {
                    q_a_proj: init.linear(hidden, rank, device),
                    q_a_layernorm: init.norm_with(rank, config.latent_norm_eps, device),
                    q_b_proj: init.linear(rank, query, device),
                }),
            },
            kv_a_proj_with_mqa: init.linear(
                hidden,
                config.kv_lora_rank + config.qk_rope_head_dim,
                device,
            ),
            kv_a_layernorm: init.norm_with(config.kv_lora_rank, config.latent_norm_eps, device),
            kv_b_proj: if config.up_projection_has_blocks() {
                init.linear(config.kv_lora_rank, config.up_width(), device)
            } else {
                init.dense_linear(config.kv_lora_rank, config.up_width(), device)
            },
            o_proj: init.residual_linear(heads * config.v_head_dim, hidden, device),
            num_attention_heads: heads,
            kv_lora_rank: config.kv_lora_rank,
            qk_nope_head_dim: config.qk_nope_head_dim,
            qk_rope_head_dim: config.qk_rope_head_dim,
            v_head_dim: config.v_head_dim,
            softmax_scale: (config.qk_head_dim() as f64).powf(-0.5) * model.rope.softmax_factor(),
        }
    }
}

impl<B: Ops> Mla<B> {
    /// Computes queries and latents of some positions.
    fn project(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> (HeadQueries<B>, Latents<B>) {
        let kv_a_proj = &self.kv_a_proj_with_mqa;
        let (query, compressed) = match &self.queries {
            Queries::Direct(q_proj) => {
                let [query, compressed] = Linear::forward_each([q_proj, kv_a_proj], hidden);
                (query, compressed)
            }
            Queries::Latent(latent) => {
                let [query, compressed] =
                    Linear::forward_each([&latent.q_a_proj, kv_a_proj], hidden);
                let query = latent.q_a_layernorm.forward(query);
                (latent.q_b_proj.forward(query), compressed)
            }
        };
        (
            self.queries(query, context),
            self.latents(compressed, context),
        )
    }

    fn queries(&self, query: Tensor<B, 3>, context: &Context<B>) -> HeadQueries<B> {
        let [batch, seq, _] = query.dims();
        let (nope, rope) = (self.qk_nope_head_dim, self.qk_rope_head_dim);
        let query = query.reshape([batch, seq, self.num_attention_heads, nope + rope]);
        HeadQueries {
            nope: query.clone().narrow(3, 0, nope),
            rope: context.rotation.apply(query.narrow(3, nope, rope)),
        }
    }

    fn latents(&self, compressed: Tensor<B, 3>, context: &Context<B>) -> Latents<B> {
        let [batch, seq, _] = compressed.dims();
        let (rank, rope) = (self.kv_lora_rank, self.qk_rope_head_dim);
        let rope_key = compressed
            .clone()
            .narrow(2, rank, rope)
            .reshape([batch, seq, 1, rope]);
        Latents {
            latent: self.kv_a_layernorm.forward(compressed.narrow(2, 0, rank)),
            rope_key: context.rotation.apply(rope_key).reshape([batch, seq, rope]),
        }
    }

    /// Attention in the expanded form, with keys and values of every head: cheaper for whole sequences.
    fn expanded(
        &self,
        queries: HeadQueries<B>,
        latents: Latents<B>,
        mask: &AttentionMask<B>,
    ) -> Tensor<B, 3> {
        let (heads, nope, value) = (
            self.num_attention_heads,
            self.qk_nope_head_dim,
            self.v_head_dim,
        );
        let [batch, seq, rope] = latents.rope_key.dims();
        let expanded =
            self.kv_b_proj
                .forward(latents.latent)
                .reshape([batch, seq, heads, nope + value]);
        let rope_key = latents
            .rope_key
            .reshape([batch, seq, 1, rope])
            .expand([batch, seq, heads, rope]);
        let query = Tensor::cat(vec![queries.nope, queries.rope], 3);
        let key = Tensor::cat(vec![expanded.clone().narrow(3, 0, nope), rope_key], 3);
        let value_states = expanded.narrow(3, nope, value);

        let options = AttentionOptions::scaled(self.softmax_scale);
        let output = B::causal_attention(query, key, value_states, mask, options);
        output.reshape([batch, seq, heads * value])
    }

    /// Attention of the newest positions of `sequences`, given by concatenated queries, to all cached positions.
    fn attend(
        &self,
        queries: HeadQueries<B>,
        sequences: &[Extension<'_, LatentCache<B>>],
        form: Form,
    ) -> Tensor<B, 3> {
        let weight = self.kv_b_proj.weight.weight();
        let (heads, value_dim) = (self.num_attention_heads, self.v_head_dim);
        let [_, tokens, _, _] = queries.nope.dims();
        let [nope, rope] = [queries.nope, queries.rope].map(|part| part.squeeze_dim(0));
        let expansion = paged::Expansion {
            weight: weight.clone(),
            value_dim,
        };
        let pasts = sequences.iter().map(|sequence| paged::Past {
            keys: sequence.past.latents.pages(),
            values: match form {
                Form::Absorbed => paged::Values::FirstOfKeys(self.kv_lora_rank),
                Form::Expanded => paged::Values::Expanded(&expansion),
            },
            len: sequence.past.latents.held(),
            new: sequence.new,
        });
        let pasts: Vec<_> = pasts.collect();
        let options = AttentionOptions::scaled(self.softmax_scale);
        let attend = |nope: Tensor<B, 3>| {
            B::paged_attention(Tensor::cat(vec![nope, rope], 2), &pasts, options)
        };
        let output = match form {
            Form::Expanded => attend(nope),
            // fold `kv_b_proj` into query and output
            Form::Absorbed => {
                let seen = attend(B::absorb_query(nope, weight.clone()));
                B::expand_value(seen, weight, value_dim)
            }
        };
        output.reshape([1, tokens, heads * value_dim])
    }

    /// The cheaper form for `new` positions after `past` earlier ones.
    fn form(&self, past: usize, new: usize) -> Form {
        if new < EXPANDED_FROM {
            return Form::Absorbed;
        }
        let (rank, rope) = (self.kv_lora_rank, self.qk_rope_head_dim);
        let (nope, value) = (self.qk_nope_head_dim, self.v_head_dim);
        // multiply-adds per head: of a pair, and of a row of `kv_b_proj`
        let pairs = new * past + new * (new + 1) / 2;
        let row = rank * (nope + value);
        let absorbed = pairs * (2 * rank + rope) + new * row;
        let expanded = pairs * (nope + rope + value) + (past + new) * row;
        if expanded < absorbed {
            Form::Expanded
        } else {
            Form::Absorbed
        }
    }
}

/// Form of attention to cached latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Queries are projected to latents, which serve as keys and values.
    Absorbed,
    /// Latents are expanded to keys and values of every head, a few at a time.
    Expanded,
}

impl<B: Ops> TokenMixer<B> for Mla<B> {
    type Cache = LatentCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        let (queries, latents) = self.project(hidden, context);
        self.o_proj
            .forward(self.expanded(queries, latents, &context.mask))
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, LatentCache<B>>],
    ) -> Tensor<B, 3> {
        let (queries, latents) = self.project(hidden, context);
        let form =
            |sequence: &Extension<'_, LatentCache<B>>| self.form(sequence.past.len(), sequence.new);
        let forms: Vec<Form> = sequences.iter().map(form).collect();
        let mut at = 0;
        for sequence in sequences.iter_mut() {
            let rows = latents.narrow(at, sequence.new).rows();
            sequence.past.latents.append(rows);
            at += sequence.new;
        }
        // neighbouring sequences in one form share matrix products
        let mut sequences = &*sequences;
        let mut at = 0;
        let groups = forms.chunk_by(|left, right| left == right);
        let outputs = groups.map(|group| {
            let (own, others) = sequences.split_at(group.len());
            sequences = others;
            let len = own.iter().map(|sequence| sequence.new).sum();
            let queries = queries.narrow(at, len);
            at += len;
            self.attend(queries, own, group[0])
        });
        self.o_proj.forward(Tensor::cat(outputs.collect(), 1))
    }

    fn empty_cache(&self, config: &CacheConfig) -> LatentCache<B> {
        LatentCache::new(*config)
    }

    fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        let queries = match self.queries {
            Queries::Direct(q_proj) => Queries::Direct(scope.linear("queries", q_proj)),
            Queries::Latent(latent) => {
                let mut scope = scope.within("queries");
                Queries::Latent(LatentQueries {
                    q_a_proj: scope.linear("q_a_proj", latent.q_a_proj),
                    q_b_proj: scope.linear("q_b_proj", latent.q_b_proj),
                    ..latent
                })
            }
        };
        let kv_a_proj = self.kv_a_proj_with_mqa;
        Self {
            queries,
            kv_a_proj_with_mqa: scope.linear("kv_a_proj_with_mqa", kv_a_proj),
            kv_b_proj: scope.linear("kv_b_proj", self.kv_b_proj),
            o_proj: scope.linear("o_proj", self.o_proj),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
