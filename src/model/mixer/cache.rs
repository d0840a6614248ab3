//! What the mixers of a plan remember, whichever they are.

use darkhorse_backends::Ops;

use super::forgetting::ForgettingCache;
use super::gated_linear::RecurrentCache;
use super::gqa::KeyValueCache;
use super::mla::LatentCache;
use crate::model::cache::{Extension, Past};

/// What a [`Mixer`](super::Mixer) remembers.
#[derive(Debug, Clone)]
pub enum MixerCache<B: Ops> {
    /// Latents of multi-head latent attention.
    Latent(LatentCache<B>),
    /// Keys and values of grouped-query attention.
    KeyValue(KeyValueCache<B>),
    /// State of gated linear attention.
    Recurrent(RecurrentCache<B>),
    /// Keys, values and gates of forgetting attention.
    Forgetting(ForgettingCache<B>),
}

/// Evaluates `body` with the cache of whichever kind.
macro_rules! with_cache {
    ($of:expr, $cache:ident => $body:expr) => {
        match $of {
            MixerCache::Latent($cache) => $body,
            MixerCache::KeyValue($cache) => $body,
            MixerCache::Recurrent($cache) => $body,
            MixerCache::Forgetting($cache) => $body,
        }
    };
}

impl<B: Ops> Past for MixerCache<B> {
    fn len(&self) -> usize {
        with_cache!(self, cache => cache.len())
    }

    fn earliest(&self) -> usize {
        with_cache!(self, cache => Past::earliest(cache))
    }

    fn truncate(&mut self, len: usize) {
        with_cache!(self, cache => cache.truncate(len));
    }

    fn memory_bytes(&self) -> usize {
        with_cache!(self, cache => cache.memory_bytes())
    }
}

/// Why a cache cannot be used.
const OF_ANOTHER: &str = "the cache is that of another mixer";

impl<B: Ops> MixerCache<B> {
    pub(super) fn latent(&mut self) -> &mut LatentCache<B> {
        match self {
            Self::Latent(cache) => cache,
            _ => panic!("{OF_ANOTHER}"),
        }
    }

    pub(super) fn key_value(&mut self) -> &mut KeyValueCache<B> {
        match self {
            Self::KeyValue(cache) => cache,
            _ => panic!("{OF_ANOTHER}"),
        }
    }

    pub(super) fn recurrent(&mut self) -> &mut RecurrentCache<B> {
        match self {
            Self::Recurrent(cache) => cache,
            _ => panic!("{OF_ANOTHER}"),
        }
    }

    pub(super) fn forgetting(&mut self) -> &mut ForgettingCache<B> {
        match self {
            Self::Forgetting(cache) => cache,
            _ => panic!("{OF_ANOTHER}"),
        }
    }
}

/// The same sequences, with the cache of one kind of mixer.
pub(super) fn each<'a, B: Ops, C>(
    sequences: &'a mut [Extension<'_, MixerCache<B>>],
    of: impl Fn(&mut MixerCache<B>) -> &mut C,
) -> Vec<Extension<'a, C>> {
    let sequences = sequences.iter_mut();
    sequences
        .map(|sequence| Extension::new(of(sequence.past), sequence.new))
        .collect()
}
