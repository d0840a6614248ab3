//! Sequence mixers: how a position sees the past.

pub mod gqa;
pub mod mla;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::cache::{CacheConfig, Extension, Past};
use super::context::Context;
use super::error::ModelConfigError;
use super::init::Initializers;
use gqa::{Gqa, GqaConfig, KeyValueCache};
use mla::{LatentCache, Mla, MlaConfig};

/// A module that mixes positions. Implement it to put a mixer of your own into a model.
pub trait TokenMixer<B: Ops>: Module<B> + ModuleDisplay {
    /// What the mixer remembers of the past while decoding.
    type Cache: Past;

    /// Mixes whole sequences.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3>;

    /// Mixes the next positions of every sequence with its past, and adds them to it.
    ///
    /// What a sequence gets does not depend on those beside it. `context.mask` is not consulted.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[1, tokens, hidden_size]`, the rows of the sequences one after the other
    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, Self::Cache>],
    ) -> Tensor<B, 3>;

    /// The past before the first token.
    fn empty_cache(&self, config: &CacheConfig) -> Self::Cache;
}

/// Names of the mixers, as a layer plan lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Multi-head latent attention.
    Mla,
    /// Grouped-query attention.
    Gqa,
}

impl MixerKind {
    /// The field that says how many dimensions rotary positions turn.
    fn rope_dim_field(self) -> &'static str {
        match self {
            Self::Mla => "mixer.mla.qk_rope_head_dim",
            Self::Gqa => "mixer.gqa.head_dim",
        }
    }
}

/// Configuration of the mixers that a layer plan names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixerConfig {
    /// Multi-head latent attention.
    #[serde(default)]
    pub mla: Option<MlaConfig>,
    /// Grouped-query attention.
    #[serde(default)]
    pub gqa: Option<GqaConfig>,
}

impl MixerConfig {
    pub(super) fn validate(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        for kind in layer_types {
            match kind {
                MixerKind::Mla => self.mla()?.validate().map_err(|e| e.within("mixer.mla"))?,
                MixerKind::Gqa => self.gqa()?.validate().map_err(|e| e.within("mixer.gqa"))?,
            }
        }
        self.check_rope_dims(layer_types)
    }

    fn check_rope_dims(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        let [first, others @ ..] = layer_types else {
            return Ok(());
        };
        let expected = self.rope_dim(*first)?;
        for kind in others {
            let value = self.rope_dim(*kind)?;
            if value != expected {
                return Err(ModelConfigError::NotEqual {
                    field: kind.rope_dim_field().into(),
                    value,
                    other: first.rope_dim_field(),
                    expected,
                    because: "all layers share the rotations",
                });
            }
        }
        Ok(())
    }

    /// Widths of what the projections of a mixer give that are in blocks where matrices are.
    pub(super) fn projected_widths(
        &self,
        kind: MixerKind,
    ) -> Result<Vec<(&'static str, usize)>, ModelConfigError> {
        Ok(match kind {
            MixerKind::Mla => {
                let mla = self.mla()?;
                let heads = mla.num_attention_heads;
                let query = heads * mla.qk_head_dim();
                vec![
                    (
                        "mixer.mla: num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)",
                        query,
                    ),
                    ("mixer.mla.q_lora_rank", mla.q_lora_rank.unwrap_or(0)),
                ]
            }
            MixerKind::Gqa => {
                let gqa = self.gqa()?;
                let of = |heads: usize| heads * gqa.head_dim;
                vec![
                    (
                        "mixer.gqa: num_attention_heads * head_dim",
                        of(gqa.num_attention_heads),
                    ),
                    (
                        "mixer.gqa: num_key_value_heads * head_dim",
                        of(gqa.num_key_value_heads),
                    ),
                ]
            }
        })
    }

    /// Number of dimensions that rotary positions turn in a mixer.
    pub(super) fn rope_dim(&self, kind: MixerKind) -> Result<usize, ModelConfigError> {
        Ok(match kind {
            MixerKind::Mla => self.mla()?.qk_rope_head_dim,
            MixerKind::Gqa => self.gqa()?.head_dim,
        })
    }

    pub(super) fn mla(&self) -> Result<&MlaConfig, ModelConfigError> {
        self.mla.as_ref().ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.mla".into(),
            because: "`layer_types` names `mla`".into(),
        })
    }

    pub(super) fn gqa(&self) -> Result<&GqaConfig, ModelConfigError> {
        self.gqa.as_ref().ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.gqa".into(),
            because: "`layer_types` names `gqa`".into(),
        })
    }
}

/// The mixers that a layer plan can name.
#[derive(Module, Debug)]
pub enum Mixer<B: Backend> {
    /// Multi-head latent attention.
    Mla(Mla<B>),
    /// Grouped-query attention.
    Gqa(Gqa<B>),
}

/// What a [`Mixer`] remembers.
#[derive(Debug, Clone)]
pub enum MixerCache<B: Backend> {
    /// Latents of multi-head latent attention.
    Latent(LatentCache<B>),
    /// Keys and values of grouped-query attention.
    KeyValue(KeyValueCache<B>),
}

impl<B: Backend> MixerCache<B> {
    fn latent(&mut self) -> &mut LatentCache<B> {
        match self {
            Self::Latent(cache) => cache,
            Self::KeyValue(_) => panic!("the cache is that of another mixer"),
        }
    }

    fn key_value(&mut self) -> &mut KeyValueCache<B> {
        match self {
            Self::KeyValue(cache) => cache,
            Self::Latent(_) => panic!("the cache is that of another mixer"),
        }
    }
}

impl<B: Backend> Past for MixerCache<B> {
    fn len(&self) -> usize {
        match self {
            Self::Latent(cache) => cache.len(),
            Self::KeyValue(cache) => cache.len(),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Latent(cache) => cache.truncate(len),
            Self::KeyValue(cache) => cache.truncate(len),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Latent(cache) => cache.memory_bytes(),
            Self::KeyValue(cache) => cache.memory_bytes(),
        }
    }
}

impl<B: Backend> Mixer<B> {
    pub(super) fn init(kind: MixerKind, init: &Initializers<'_>, device: &B::Device) -> Self {
        match kind {
            MixerKind::Mla => Self::Mla(Mla::init(init, device)),
            MixerKind::Gqa => Self::Gqa(Gqa::init(init, device)),
        }
    }
}

impl<B: Ops> TokenMixer<B> for Mixer<B> {
    type Cache = MixerCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        match self {
            Self::Mla(mla) => mla.forward(hidden, context),
            Self::Gqa(gqa) => gqa.forward(hidden, context),
        }
    }

    /// # Panics
    ///
    /// If a cache is not one that this mixer began.
    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, MixerCache<B>>],
    ) -> Tensor<B, 3> {
        match self {
            Self::Mla(mla) => mla.extend(hidden, context, &mut each(sequences, MixerCache::latent)),
            Self::Gqa(gqa) => {
                gqa.extend(hidden, context, &mut each(sequences, MixerCache::key_value))
            }
        }
    }

    fn empty_cache(&self, config: &CacheConfig) -> MixerCache<B> {
        match self {
            Self::Mla(_) => MixerCache::Latent(LatentCache::new(*config)),
            Self::Gqa(_) => MixerCache::KeyValue(KeyValueCache::new(*config)),
        }
    }
}

/// The same sequences, with the cache of one kind of mixer.
fn each<'a, B: Backend, C>(
    sequences: &'a mut [Extension<'_, MixerCache<B>>],
    of: impl Fn(&mut MixerCache<B>) -> &mut C,
) -> Vec<Extension<'a, C>> {
    let sequences = sequences.iter_mut();
    sequences
        .map(|sequence| Extension::new(of(sequence.past), sequence.new))
        .collect()
}
