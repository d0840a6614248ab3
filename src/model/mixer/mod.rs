//! Sequence mixers: how a position sees the past.

pub mod cache;
mod config;
pub mod forgetting;
pub mod gated_attention;
pub mod gated_linear;
pub mod gqa;
pub mod mla;
pub mod short_conv;
pub(super) mod spec;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

pub use self::cache::MixerCache;
use self::cache::each;
pub use self::config::{MixerConfig, MixerKind};
use super::cache::{CacheConfig, Extension, Past};
use super::context::Context;
use super::init::Initializers;
use forgetting::Forgetting;
use gated_linear::GatedLinear;
use gqa::{Gqa, KeyValueCache};
use mla::{LatentCache, Mla};

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

/// The mixers that a layer plan can name.
#[derive(Module, Debug)]
pub enum Mixer<B: Backend> {
    /// Multi-head latent attention.
    Mla(Mla<B>),
    /// Grouped-query attention, gated or not.
    Gqa(Gqa<B>),
    /// Gated linear attention.
    GatedLinear(GatedLinear<B>),
    /// Forgetting attention.
    Forgetting(Forgetting<B>),
}

impl<B: Backend> Mixer<B> {
    pub(super) fn init(kind: MixerKind, init: &Initializers<'_>, device: &B::Device) -> Self {
        let sections = &init.config().mixer;
        match kind {
            MixerKind::Mla => Self::Mla(Mla::init(named(&sections.mla), init, device)),
            MixerKind::Gqa => Self::Gqa(Gqa::init(named(&sections.gqa), init, device)),
            MixerKind::Gla => {
                Self::GatedLinear(GatedLinear::init(named(&sections.gla), init, device))
            }
            MixerKind::Fox => {
                Self::Forgetting(Forgetting::init(named(&sections.fox), init, device))
            }
            MixerKind::GatedAttention => {
                let config = named(&sections.gated_attention).gqa();
                Self::Gqa(Gqa::init(&config, init, device))
            }
        }
    }
}

/// A section that the layer plan names.
fn named<C>(section: &Option<C>) -> &C {
    let section = section.as_ref();
    section.expect("the configuration was validated")
}

impl<B: Ops> TokenMixer<B> for Mixer<B> {
    type Cache = MixerCache<B>;

    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
        match self {
            Self::Mla(mla) => mla.forward(hidden, context),
            Self::Gqa(gqa) => gqa.forward(hidden, context),
            Self::GatedLinear(linear) => linear.forward(hidden, context),
            Self::Forgetting(fox) => fox.forward(hidden, context),
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
        }
    }

    fn empty_cache(&self, config: &CacheConfig) -> MixerCache<B> {
        match self {
            Self::Mla(_) => MixerCache::Latent(LatentCache::new(*config)),
            Self::Gqa(_) => MixerCache::KeyValue(KeyValueCache::new(*config)),
            Self::GatedLinear(linear) => MixerCache::Recurrent(linear.empty_cache(config)),
            Self::Forgetting(fox) => MixerCache::Forgetting(fox.empty_cache(config)),
        }
    }
}
