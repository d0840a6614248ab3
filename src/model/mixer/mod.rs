//! Sequence mixers: how a position sees the past.

pub mod mla;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::ModelConfigError;
use super::init::Initializers;
use mla::{LatentCache, Mla, MlaConfig};

/// A module that mixes positions. Implement it to put a mixer of your own into a model.
pub trait TokenMixer<B: Ops>: Module<B> + ModuleDisplay {
    /// What the mixer remembers of the past while decoding.
    type Cache: Clone + Send + std::fmt::Debug;

    /// Mixes whole sequences.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3>;

    /// Mixes the next positions with those already in `cache`, and adds them to it.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, new, hidden_size]`
    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut Self::Cache,
    ) -> Tensor<B, 3>;

    /// The cache before the first token.
    fn empty_cache(&self) -> Self::Cache;
}

/// Names of the mixers, as a layer plan lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Multi-head latent attention.
    Mla,
}

/// Configuration of the mixers that a layer plan names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixerConfig {
    /// Multi-head latent attention.
    #[serde(default)]
    pub mla: Option<MlaConfig>,
}

impl MixerConfig {
    pub(super) fn validate(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        for kind in layer_types {
            match kind {
                MixerKind::Mla => self.mla()?.validate().map_err(|e| e.within("mixer.mla"))?,
            }
        }
        Ok(())
    }

    pub(super) fn mla(&self) -> Result<&MlaConfig, ModelConfigError> {
        self.mla.as_ref().ok_or_else(|| ModelConfigError::Missing {
            field: "mixer.mla".into(),
            because: "`layer_types` names `mla`".into(),
        })
    }
}

/// The mixers that a layer plan can name.
#[derive(Module, Debug)]
pub enum Mixer<B: Backend> {
    /// Multi-head latent attention.
    Mla(Mla<B>),
}

/// What a [`Mixer`] remembers.
#[derive(Debug, Clone)]
pub enum MixerCache<B: Backend> {
    /// Latents of multi-head latent attention.
    Latent(LatentCache<B>),
}

impl<B: Backend> Mixer<B> {
    pub(super) fn init(kind: MixerKind, init: &Initializers<'_>, device: &B::Device) -> Self {
        match kind {
            MixerKind::Mla => Self::Mla(Mla::init(init, device)),
        }
    }
}

impl<B: Ops> TokenMixer<B> for Mixer<B> {
    type Cache = MixerCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        match self {
            Self::Mla(mla) => mla.forward(hidden, context),
        }
    }

    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        cache: &mut MixerCache<B>,
    ) -> Tensor<B, 3> {
        match (self, cache) {
            (Self::Mla(mla), MixerCache::Latent(cache)) => mla.extend(hidden, context, cache),
        }
    }

    fn empty_cache(&self) -> MixerCache<B> {
        match self {
            Self::Mla(mla) => MixerCache::Latent(mla.empty_cache()),
        }
    }
}
