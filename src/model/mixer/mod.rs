//! Sequence mixers: the part of a layer through which positions see earlier ones.

mod config;
pub mod fox;
pub mod gated_attention;
pub mod gla;
pub mod gqa;
pub mod mla;
pub mod short_conv;
pub(super) mod spec;

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

pub use self::config::{MixerConfig, MixerKind};
use super::cache::{CacheConfig, Extension, Past};
use super::context::Context;
use super::init::Initializers;
use super::matrices::Scope;
use fox::{Fox, FoxCache};
use gla::{Gla, GlaCache};
use gqa::{Gqa, KeyValueCache};
use mla::{LatentCache, Mla};

/// A sequence mixer. Implement it to use your own mixer in a model.
pub trait TokenMixer<B: Ops>: Module<B> + ModuleDisplay {
    /// Cache of one sequence for decoding.
    type Cache: Past;

    /// Mixes the positions of whole sequences.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[batch, seq, hidden_size]`
    fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3>;

    /// Mixes the next positions of every sequence with its cache and appends them to it.
    ///
    /// The result for a sequence does not depend on the others. `context.mask` is ignored.
    ///
    /// # Shapes
    ///
    /// - hidden, output: `[1, tokens, hidden_size]`, the rows of all sequences, concatenated
    fn extend(
        &self,
        hidden: Tensor<B, 3>,
        context: &Context<B>,
        sequences: &mut [Extension<'_, Self::Cache>],
    ) -> Tensor<B, 3>;

    /// Creates a cache without positions.
    fn empty_cache(&self, config: &CacheConfig) -> Self::Cache;

    /// Changes the mixer's matrices, so that they can be adapted by LoRA. The default changes none.
    fn map_matrices(self, _scope: &mut Scope<'_, B>) -> Self {
        self
    }
}

/// The built-in mixers.
#[derive(Module, Debug)]
pub enum Mixer<B: Backend> {
    /// Multi-head latent attention.
    Mla(Mla<B>),
    /// Grouped-query attention, with or without output gate.
    Gqa(Gqa<B>),
    /// Gated linear attention, or Gated DeltaNet.
    Gla(Gla<B>),
    /// Forgetting attention.
    Fox(Fox<B>),
}

/// Declares [`MixerCache`] and implements [`TokenMixer`] for [`Mixer`]: one line per mixer.
macro_rules! mixers {
    ($($(#[$doc:meta])* $mixer:ident($cache:ident)),+ $(,)?) => {
        /// Cache of a [`Mixer`] for decoding.
        #[derive(Debug, Clone)]
        pub enum MixerCache<B: Ops> {
            $($(#[$doc])* $mixer($cache<B>),)+
        }

        impl<B: Ops> TokenMixer<B> for Mixer<B> {
            type Cache = MixerCache<B>;

            fn forward(&self, hidden: Tensor<B, 3>, context: &Context<B>) -> Tensor<B, 3> {
                match self {
                    $(Self::$mixer(mixer) => mixer.forward(hidden, context),)+
                }
            }

            /// # Panics
            ///
            /// If a cache belongs to another type of mixer.
            fn extend(
                &self,
                hidden: Tensor<B, 3>,
                context: &Context<B>,
                sequences: &mut [Extension<'_, MixerCache<B>>],
            ) -> Tensor<B, 3> {
                match self {
                    $(Self::$mixer(mixer) => {
                        let own = sequences.iter_mut().map(|sequence| match &mut *sequence.past {
                            MixerCache::$mixer(cache) => Extension::new(cache, sequence.new),
                            _ => panic!("the cache is that of another mixer"),
                        });
                        mixer.extend(hidden, context, &mut own.collect::<Vec<_>>())
                    })+
                }
            }

            fn empty_cache(&self, config: &CacheConfig) -> MixerCache<B> {
                match self {
                    $(Self::$mixer(mixer) => MixerCache::$mixer(mixer.empty_cache(config)),)+
                }
            }

            fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
                match self {
                    $(Self::$mixer(mixer) => Self::$mixer(mixer.map_matrices(scope)),)+
                }
            }
        }

        impl<B: Ops> Past for MixerCache<B> {
            fn len(&self) -> usize {
                match self {
                    $(Self::$mixer(cache) => cache.len(),)+
                }
            }

            fn earliest(&self) -> usize {
                match self {
                    $(Self::$mixer(cache) => Past::earliest(cache),)+
                }
            }

            fn truncate(&mut self, len: usize) {
                match self {
                    $(Self::$mixer(cache) => cache.truncate(len),)+
                }
            }

            fn memory_bytes(&self) -> usize {
                match self {
                    $(Self::$mixer(cache) => cache.memory_bytes(),)+
                }
            }
        }
    };
}

mixers! {
    /// Latents of multi-head latent attention.
    Mla(LatentCache),
    /// Keys and values of grouped-query attention.
    Gqa(KeyValueCache),
    /// State of gated linear attention.
    Gla(GlaCache),
    /// Keys, values and gates of forgetting attention.
    Fox(FoxCache),
}

impl<B: Backend> Mixer<B> {
    pub(super) fn init(kind: MixerKind, init: &Initializers<'_>, device: &B::Device) -> Self {
        let sections = &init.config().mixer;
        match kind {
            MixerKind::Mla => Self::Mla(Mla::init(named(&sections.mla), init, device)),
            MixerKind::Gqa => Self::Gqa(Gqa::init(named(&sections.gqa), init, device)),
            MixerKind::Gla => Self::Gla(Gla::init(named(&sections.gla), init, device)),
            MixerKind::Fox => Self::Fox(Fox::init(named(&sections.fox), init, device)),
            MixerKind::GatedAttention => {
                let config = named(&sections.gated_attention).gqa();
                Self::Gqa(Gqa::init(&config, init, device))
            }
        }
    }
}

/// The section of a mixer that `layer_types` names.
fn named<C>(section: &Option<C>) -> &C {
    let section = section.as_ref();
    section.expect("the configuration was validated")
}
