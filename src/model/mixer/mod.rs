//! Sequence mixers: how a position sees the past.

pub mod cache;
pub mod forgetting;
pub mod gated_attention;
pub mod gated_linear;
pub mod gqa;
pub mod mla;
pub mod short_conv;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

pub use self::cache::MixerCache;
use self::cache::each;
use super::cache::{CacheConfig, Extension, Past};
use super::context::Context;
use super::error::ModelConfigError;
use super::init::Initializers;
use forgetting::{Forgetting, ForgettingConfig};
use gated_attention::{GatedAttention, GatedAttentionConfig};
use gated_linear::{GatedLinear, GatedLinearConfig};
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
    /// Gated linear attention.
    Gla,
    /// Forgetting attention.
    Fox,
    /// Gated attention.
    GatedAttention,
}

impl MixerKind {
    /// The field that says how many dimensions rotary positions turn.
    fn rope_dim_field(self) -> &'static str {
        match self {
            Self::Mla => "mixer.mla.qk_rope_head_dim",
            Self::Gqa => "mixer.gqa.head_dim",
            Self::Gla => "mixer.gla.rotary_dim",
            Self::Fox => "mixer.fox",
            Self::GatedAttention => "mixer.gated_attention.rotary_dim",
        }
    }
}

/// Configuration of the mixers that a layer plan names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixerConfig {
    /// Multi-head latent attention.
    #[serde(default)]
    pub mla: Option<MlaConfig>,
    /// Grouped-query attention.
    #[serde(default)]
    pub gqa: Option<GqaConfig>,
    /// Gated linear attention.
    #[serde(default)]
    pub gla: Option<GatedLinearConfig>,
    /// Forgetting attention.
    #[serde(default)]
    pub fox: Option<ForgettingConfig>,
    /// Gated attention.
    #[serde(default)]
    pub gated_attention: Option<GatedAttentionConfig>,
}

impl MixerConfig {
    pub(super) fn validate(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        for kind in layer_types {
            match kind {
                MixerKind::Mla => self.mla()?.validate().map_err(|e| e.within("mixer.mla"))?,
                MixerKind::Gqa => self.gqa()?.validate().map_err(|e| e.within("mixer.gqa"))?,
                MixerKind::Gla => self.gla()?.validate().map_err(|e| e.within("mixer.gla"))?,
                MixerKind::Fox => self.fox()?.validate().map_err(|e| e.within("mixer.fox"))?,
                MixerKind::GatedAttention => self
                    .gated_attention()?
                    .validate()
                    .map_err(|e| e.within("mixer.gated_attention"))?,
            }
        }
        self.check_rope_dims(layer_types)
    }

    fn check_rope_dims(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        let mut rotated = Vec::new();
        for kind in layer_types {
            if self.rope_dim(*kind)? > 0 {
                rotated.push(*kind);
            }
        }
        let [first, others @ ..] = rotated.as_slice() else {
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
            // matrices of theirs without whole blocks stay numbers
            MixerKind::Gla | MixerKind::Fox | MixerKind::GatedAttention => Vec::new(),
        })
    }

    /// Number of dimensions that rotary positions turn in a mixer; 0: none.
    pub(super) fn rope_dim(&self, kind: MixerKind) -> Result<usize, ModelConfigError> {
        Ok(match kind {
            MixerKind::Mla => self.mla()?.qk_rope_head_dim,
            MixerKind::Gqa => self.gqa()?.head_dim,
            MixerKind::Gla => self.gla()?.rotary_dim,
            MixerKind::Fox => 0,
            MixerKind::GatedAttention => self.gated_attention()?.rotary_dim,
        })
    }

    pub(super) fn gated_attention(&self) -> Result<&GatedAttentionConfig, ModelConfigError> {
        let config = self.gated_attention.as_ref();
        config.ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.gated_attention".into(),
            because: "`layer_types` names `gated_attention`".into(),
        })
    }

    pub(super) fn gla(&self) -> Result<&GatedLinearConfig, ModelConfigError> {
        self.gla.as_ref().ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.gla".into(),
            because: "`layer_types` names `gla`".into(),
        })
    }

    pub(super) fn fox(&self) -> Result<&ForgettingConfig, ModelConfigError> {
        self.fox.as_ref().ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.fox".into(),
            because: "`layer_types` names `fox`".into(),
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
    /// Gated linear attention.
    GatedLinear(GatedLinear<B>),
    /// Forgetting attention.
    Forgetting(Forgetting<B>),
    /// Gated attention.
    GatedAttention(GatedAttention<B>),
}

impl<B: Backend> Mixer<B> {
    pub(super) fn init(kind: MixerKind, init: &Initializers<'_>, device: &B::Device) -> Self {
        match kind {
            MixerKind::Mla => Self::Mla(Mla::init(init, device)),
            MixerKind::Gqa => Self::Gqa(Gqa::init(init, device)),
            MixerKind::Gla => {
                let config = init.config().mixer.gla();
                let config = config.expect("the configuration was validated");
                Self::GatedLinear(GatedLinear::init(config, init, device))
            }
            MixerKind::Fox => {
                let config = init.config().mixer.fox();
                let config = config.expect("the configuration was validated");
                Self::Forgetting(Forgetting::init(config, init, device))
            }
            MixerKind::GatedAttention => {
                let config = init.config().mixer.gated_attention();
                let config = config.expect("the configuration was validated");
                Self::GatedAttention(GatedAttention::init(config, init, device))
            }
        }
    }
}

impl<B: Ops> TokenMixer<B> for Mixer<B> {
    type Cache = MixerCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        match self {
            Self::Mla(mla) => mla.forward(hidden, context),
            Self::Gqa(gqa) => gqa.forward(hidden, context),
            Self::GatedLinear(linear) => linear.forward(hidden, context),
            Self::Forgetting(fox) => fox.forward(hidden, context),
            Self::GatedAttention(gated) => gated.forward(hidden, context),
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
            Self::GatedLinear(linear) => {
                linear.extend(hidden, context, &mut each(sequences, MixerCache::recurrent))
            }
            Self::Forgetting(fox) => fox.extend(
                hidden,
                context,
                &mut each(sequences, MixerCache::forgetting),
            ),
            Self::GatedAttention(gated) => {
                let mut sequences = each(sequences, MixerCache::gated_attention);
                gated.extend(hidden, context, &mut sequences)
            }
        }
    }

    fn empty_cache(&self, config: &CacheConfig) -> MixerCache<B> {
        match self {
            Self::Mla(_) => MixerCache::Latent(LatentCache::new(*config)),
            Self::Gqa(_) => MixerCache::KeyValue(KeyValueCache::new(*config)),
            Self::GatedLinear(linear) => MixerCache::Recurrent(linear.empty_cache(config)),
            Self::Forgetting(fox) => MixerCache::Forgetting(fox.empty_cache(config)),
            Self::GatedAttention(gated) => MixerCache::GatedAttention(gated.empty_cache(config)),
        }
    }
}
