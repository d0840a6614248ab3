//! Prefix cache: common beginnings of prompts are read once.

use darkhorse_backends::Ops;

use crate::domain::Domain;
use crate::model::cache::Cache;
use crate::model::mixer::TokenMixer;

/// Caches of earlier prompts, least recently used first.
#[derive(Debug)]
pub(super) struct Prefixes<B: Ops, M: TokenMixer<B>> {
    entries: Vec<Prefix<B, M>>,
    /// Maximum total number of ids.
    capacity: usize,
    /// Prefixes are shared up to a multiple of this many ids.
    chunk: usize,
}

#[derive(Debug)]
struct Prefix<B: Ops, M: TokenMixer<B>> {
    ids: Vec<u32>,
    domain: Option<Domain>,
    cache: Cache<B, M>,
}

impl<B: Ops, M: TokenMixer<B>> Prefixes<B, M> {
    pub(super) fn new(capacity: usize, chunk: usize) -> Self {
        Self {
            entries: Vec::new(),
            capacity,
            chunk,
        }
    }

    /// Cache of the longest kept prefix of `ids`, which never includes the last id.
    pub(super) fn find(&mut self, ids: &[u32], domain: Option<Domain>) -> Option<Cache<B, M>> {
        let readable = ids.len().saturating_sub(1);
        let shared = |prefix: &Prefix<B, M>| {
            let pairs = prefix.ids.iter().zip(&ids[..readable]);
            let common = pairs.take_while(|(left, right)| left == right).count();
            common / self.chunk * self.chunk
        };
        let entries = self.entries.iter().enumerate();
        let (at, len) = entries
            .filter(|(_, prefix)| prefix.domain == domain)
            .map(|(at, prefix)| (at, shared(prefix)))
            .filter(|&(_, len)| len > 0)
            .max_by_key(|&(_, len)| len)?;
        let used = self.entries.remove(at);
        let mut cache = used.cache.clone();
        self.entries.push(used);
        if len < cache.earliest() {
            return None;
        }
        cache.truncate(len);
        Some(cache)
    }

    /// Keeps the cache of a prompt, up to its last whole chunk.
    pub(super) fn keep(&mut self, ids: &[u32], domain: Option<Domain>, cache: &Cache<B, M>) {
        let len = cache.len() / self.chunk * self.chunk;
        // a recurrent state cannot return to the end of an earlier chunk
        if len == 0 || len > self.capacity || len < cache.earliest() {
            return;
        }
        let ids = &ids[..len];
        let begins_so =
            |prefix: &Prefix<B, M>| prefix.domain == domain && prefix.ids.starts_with(ids);
        if self.entries.iter().any(begins_so) {
            return;
        }
        self.entries
            .retain(|prefix| !(prefix.domain == domain && ids.starts_with(&prefix.ids)));
        let mut cache = cache.clone();
        cache.truncate(len);
        self.entries.push(Prefix {
            ids: ids.to_vec(),
            domain,
            cache,
        });
        let mut kept: usize = self.entries.iter().map(|prefix| prefix.ids.len()).sum();
        while kept > self.capacity {
            kept -= self.entries.remove(0).ids.len();
        }
    }
}
