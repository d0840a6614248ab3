//! Log-likelihood of given tokens after given tokens, for many requests at once.
//!
//! Requests that begin alike, such as the choices of one question, share what they have in common: it is read once,
//! and each reads on from a copy of its cache. Logits are computed only where a token is scored.

use std::ops::{ControlFlow, Range};

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::{Ops, awake};
use rayon::prelude::*;

use super::head::values;
use super::limits::{GenerationError, Limits};
use super::pass::diagnose;
use super::turn::joined;
use crate::model::cache::{Cache, CacheConfig, Extension};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::model::{CausalLm, NotFinite, are_finite};

/// Number of tokens in a pass.
const PASS: usize = 512;
/// Number of rows whose logits are held at once.
const ROWS: usize = 128;
/// Least number of tokens that sharing a beginning must save.
const SAVING: usize = 8;

/// Tokens to score, and the tokens that come before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// Ids before, at least one.
    pub context: Vec<u32>,
    /// Ids that are scored, at least one.
    pub continuation: Vec<u32>,
}

/// Score of a [`Continuation`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// Sum of the natural logarithms of the tokens' probabilities.
    pub log_likelihood: f64,
    /// Whether every token is the likeliest one at its place.
    pub is_greedy: bool,
}

/// A token to score: its request, and its id.
type Wanted = (usize, u32);

/// Ids to read, and what is scored after them.
#[derive(Debug)]
struct Reading {
    ids: Vec<u32>,
    /// First position whose logits are needed.
    first: usize,
    /// What is scored after the positions from `first` on.
    wanted: Vec<Vec<Wanted>>,
}

impl Reading {
    /// Tokens that are scored after the positions of a range.
    fn wanted(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &[Wanted])> {
        let first = self.first;
        let range = range.start.max(first)..range.end.max(first);
        range.map(move |at| (at, self.wanted[at - first].as_slice()))
    }
}

/// Readings that share their first `shared` ids.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    readings: Range<usize>,
    shared: usize,
}

/// Scores continuations. A request that exceeds the context loses its first tokens. `progress` gets the number of
/// requests that are scored; `None` is returned if it breaks.
///
/// # Errors
///
/// [`GenerationError`]: an empty context or continuation, a continuation longer than the context of the model, an id
/// outside the vocabulary, or logits that are not finite.
pub fn likelihoods<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    limits: Limits,
    requests: &[Continuation],
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Likelihood>>, GenerationError> {
    let readings = readings(requests, limits)?;
    let common = common(&readings);
    let mut scores = vec![
        Likelihood {
            log_likelihood: 0.0,
            is_greedy: true,
        };
        requests.len()
    ];
    let mut beginning = model.empty_cache(&CacheConfig::default());
    if common > 0 {
        let mut parts = [Part {
            cache: &mut beginning,
            reading: &readings[0],
            read: 0..common,
            wanted: Vec::new(),
        }];
        pass(model, &mut parts, &mut scores)?;
    }
    let (mut done, mut groups) = (0, grouped(&readings, common).into_iter().peekable());
    while groups.peek().is_some() {
        let (mut tokens, mut batch) = (0, Vec::new());
        while let Some(group) = groups.next_if(|_| tokens < PASS) {
            let own = readings[group.readings.clone()].iter();
            tokens += group.shared - common;
            tokens += own.map(|it| it.ids.len() - group.shared).sum::<usize>();
            done += readings[group.readings.clone()]
                .iter()
                .map(Reading::requests)
                .sum::<usize>();
            batch.push(group);
        }
        let (model, beginning) = (model.clone(), beginning.clone());
        let (readings, scores) = (&readings, &mut scores);
        awake(move || read_groups(&model, &beginning, &batch, readings, scores))?;
        if progress(done).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(scores))
}

impl Reading {
    /// Number of requests.
    fn requests(&self) -> usize {
        // every request scores a token after the last position
        self.wanted.last().map_or(0, Vec::len)
    }
}

/// What is read for the requests, sorted by ids, each only once.
fn readings(requests: &[Continuation], limits: Limits) -> Result<Vec<Reading>, GenerationError> {
    let mut all = Vec::with_capacity(requests.len());
    for (number, request) in requests.iter().enumerate() {
        let Continuation {
            context,
            continuation,
        } = request;
        if context.is_empty() {
            return Err(GenerationError::Empty);
        }
        limits.check(0, continuation)?;
        let mut ids = [context.as_slice(), continuation].concat();
        ids.drain(..ids.len().saturating_sub(limits.context + 1));
        ids.pop();
        limits.check(0, &ids)?;
        let first = ids.len() - continuation.len();
        let wanted = continuation.iter().map(|&id| vec![(number, id)]);
        all.push(Reading {
            first,
            wanted: wanted.collect(),
            ids,
        });
    }
    all.sort_by(|a, b| a.ids.cmp(&b.ids).then(a.first.cmp(&b.first)));
    all.dedup_by(|next, kept| {
        let same = next.ids == kept.ids;
        if same {
            let skipped = next.first - kept.first;
            for (place, wanted) in kept.wanted[skipped..].iter_mut().zip(&next.wanted) {
                place.extend(wanted);
            }
        }
        same
    });
    Ok(all)
}

/// Number of ids that both begin with.
fn alike(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Number of first ids that all readings share and after which none scores a token, if it is worth the while.
fn common(readings: &[Reading]) -> usize {
    let [first, .., last] = readings else {
        return 0;
    };
    let scored = readings.iter().map(|it| it.first).min().unwrap_or(0);
    let common = alike(&first.ids, &last.ids).min(scored);
    if common >= SAVING { common } else { 0 }
}

/// Groups neighbors whose common beginning saves more tokens than it costs the group.
fn grouped(readings: &[Reading], common: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, reading) in readings.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let shared = alike(
                &readings[group.readings.start].ids[..group.shared],
                &reading.ids,
            );
            let again = (group.readings.len() - 1) * (group.shared - shared);
            if shared >= common + again + SAVING {
                group.readings.end = at + 1;
                group.shared = shared;
                continue;
            }
        }
        groups.push(Group {
            readings: at..at + 1,
            shared: reading.ids.len(),
        });
    }
    groups
}

/// Part of a reading: the range that is read, after the cache of what is before it.
struct Part<'a, B: Ops, M: TokenMixer<B>> {
    cache: &'a mut Cache<B, M>,
    reading: &'a Reading,
    read: Range<usize>,
    /// Positions after which tokens are scored, in order.
    wanted: Vec<(usize, Vec<Wanted>)>,
}

fn read_groups<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    beginning: &Cache<B, M>,
    groups: &[Group],
    readings: &[Reading],
    scores: &mut [Likelihood],
) -> Result<(), NotFinite> {
    let mut shared: Vec<Cache<B, M>> = groups.iter().map(|_| beginning.clone()).collect();
    let mut parts: Vec<Part<'_, B, M>> = Vec::new();
    for (group, cache) in groups.iter().zip(&mut shared) {
        let members = &readings[group.readings.clone()];
        let read = beginning.len()..group.shared;
        let first = members.iter().map(|it| it.first).min().unwrap_or(0);
        let wanted = (first.max(read.start)..read.end).map(|at| {
            let of_members = members.iter().flat_map(|it| it.wanted(at..at + 1));
            (
                at,
                of_members.flat_map(|(_, wanted)| wanted).copied().collect(),
            )
        });
        parts.push(Part {
            cache,
            reading: &members[0],
            wanted: wanted.collect(),
            read,
        });
    }
    pass(model, &mut parts, scores)?;

    let rest = groups.iter().zip(&shared).flat_map(|(group, cache)| {
        let members = readings[group.readings.clone()].iter();
        let unread = members.filter(|it| it.ids.len() > group.shared);
        unread.map(move |reading| (reading, group.shared, cache))
    });
    let rest: Vec<_> = rest.collect();
    let mut caches: Vec<Cache<B, M>> = rest.iter().map(|(.., cache)| (*cache).clone()).collect();
    let parts = rest.iter().zip(&mut caches);
    let mut parts: Vec<Part<'_, B, M>> = parts
        .map(|(&(reading, shared, _), cache)| {
            let read = shared..reading.ids.len();
            let wanted = reading.wanted(read.clone());
            Part {
                cache,
                reading,
                wanted: wanted.map(|(at, wanted)| (at, wanted.to_vec())).collect(),
                read,
            }
        })
        .collect();
    pass(model, &mut parts, scores)
}

/// Reads the parts, in pieces of at most [`PASS`] tokens, and adds up the scores.
fn pass<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    parts: &mut [Part<'_, B, M>],
    scores: &mut [Likelihood],
) -> Result<(), NotFinite> {
    let device = model.embed_tokens.device();
    let mut begin = 0;
    while begin < parts.len() {
        let mut left = PASS;
        let (mut pieces, mut extensions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut end = begin;
        for part in &mut parts[begin..] {
            if left == 0 {
                break;
            }
            let from = part.cache.len();
            let piece = from..part.read.end.min(from + left);
            let row = PASS - left;
            left -= piece.len();
            let wanted = part.wanted.iter();
            let inside = wanted.filter(|(at, wanted)| piece.contains(at) && !wanted.is_empty());
            rows.extend(inside.map(|(at, wanted)| Row {
                row: row + at - from,
                ids: &part.reading.ids[..=*at],
                wanted,
            }));
            // a part without new ids is done
            if piece.end == part.read.end {
                end += 1;
            }
            if !piece.is_empty() {
                let ids = part.reading.ids[piece.clone()].iter().copied();
                pieces.push((ids, from, None));
                extensions.push(Extension::new(&mut *part.cache, piece.len()));
            }
        }
        if !extensions.is_empty() {
            let input = joined(pieces.into_iter(), &device);
            let states = model.extend(&input, &mut extensions).states;
            for rows in rows.chunks(ROWS) {
                score(model, &states, rows, scores)?;
            }
        }
        begin = end;
    }
    Ok(())
}

/// A row of states, and what is scored with its logits.
struct Row<'a> {
    row: usize,
    /// All ids up to its position.
    ids: &'a [u32],
    wanted: &'a [Wanted],
}

fn score<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    states: &Tensor<B, 3>,
    rows: &[Row<'_>],
    scores: &mut [Likelihood],
) -> Result<(), NotFinite> {
    let places: Vec<i32> = rows.iter().map(|it| it.row as i32).collect();
    let places = Tensor::from_data(TensorData::new(places, [rows.len()]), &states.device());
    let logits = values(model.logits(states.clone().select(1, places)));
    let logits = logits.par_chunks_exact(logits.len() / rows.len());
    let found: Vec<Option<(usize, f64)>> = logits.clone().map(summary).collect();
    for ((row, logits), found) in rows.iter().zip(logits.collect::<Vec<_>>()).zip(found) {
        let Some((likeliest, log_sum)) = found else {
            return Err(diagnose(model, row.ids, None));
        };
        for &(request, id) in row.wanted {
            scores[request].log_likelihood += f64::from(logits[id as usize]) - log_sum;
            scores[request].is_greedy &= likeliest == id as usize;
        }
    }
    Ok(())
}

/// The first largest logit, and the logarithm of the sum of the exponentials; `None` if a logit is not finite.
pub(super) fn summary(logits: &[f32]) -> Option<(usize, f64)> {
    if !are_finite(logits) {
        return None;
    }
    let mut likeliest = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[likeliest] {
            likeliest = id;
        }
    }
    let largest = logits[likeliest];
    let sum = |part: &[f32]| part.iter().map(|it| (it - largest).exp()).sum::<f32>();
    let sum: f64 = logits.chunks(256).map(|part| f64::from(sum(part))).sum();
    Some((likeliest, f64::from(largest) + sum.ln()))
}

#[cfg(test)]
mod tests {
    use darkhorse_backends::select::Selected;
    use serde_json::json;

    use super::*;
    use crate::inference::Generation;
    use crate::model::ModelConfig;

    fn config() -> ModelConfig {
        let config = json!({
            "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
            "max_position_embeddings": 24, "initializer_range": 0.5, "rope": {}, "layer_types": ["gqa", "gla"],
            "domains": {"mode": "off"},
            "mixer": {
                "gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
                "gla": {
                    "num_heads": 2, "num_query_heads": 2, "num_key_heads": 2, "num_value_heads": 2,
                    "key_head_dim": 8, "value_head_dim": 8, "conv_kernel_size": 4, "rule": "delta"
                }
            }
        });
        serde_json::from_value(config).expect("it is complete")
    }

    fn request(context: &[u32], continuation: &[u32]) -> Continuation {
        Continuation {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
        }
    }

    /// The definition: reads token after token.
    fn alone(model: &CausalLm<Selected>, limits: Limits, request: &Continuation) -> Likelihood {
        let mut ids = [&request.context[..], &request.continuation].concat();
        ids.drain(..ids.len().saturating_sub(limits.context + 1));
        let mut generation = Generation::new(model, limits, None);
        let mut score = Likelihood {
            log_likelihood: 0.0,
            is_greedy: true,
        };
        for at in 1..ids.len() {
            generation.read(&ids[at - 1..at]).unwrap();
            if at >= ids.len() - request.continuation.len() {
                let logits = generation.logits();
                let (likeliest, sum) = summary(logits).unwrap();
                score.log_likelihood += f64::from(logits[ids[at] as usize]) - sum;
                score.is_greedy &= likeliest == ids[at] as usize;
            }
        }
        score
    }

    #[test]
    fn shared_beginnings_change_no_score() {
        let model = CausalLm::<Selected>::init(&config(), 5, &Default::default());
        let limits = Limits::of(&config());
        let long: Vec<u32> = (0..14).map(|at| at * 7 % 40).collect();
        let longer = [&long[..], &[3, 1]].concat();
        let other: Vec<u32> = (0..12).map(|at| at * 11 % 40).collect();
        let mut requests = vec![
            request(&long, &[5]),
            request(&long, &[6]),
            request(&long, &[5, 9, 2]),
            request(&long, &[5, 9, 3]),
            request(&longer, &[8]),
            // a shorter context, so that tokens of the shared beginning are scored
            request(&long[..4], &[long[4], long[5], 7]),
            request(&long[..9], &long[9..]),
            request(&other, &[1, 2]),
            request(&[4], &[4]),
            request(&long, &[5]),
            // longer than the context
            request(&[&long[..], &long].concat(), &[1, 2, 3]),
        ];
        for common in [false, true] {
            if common {
                requests.retain(|it| it.context.len() < 20 && it.context.starts_with(&long));
            }
            let mut counts = Vec::new();
            let found = likelihoods(&model, limits, &requests, |done| {
                counts.push(done);
                ControlFlow::Continue(())
            });
            let found = found.unwrap().unwrap();
            assert_eq!(counts.last(), Some(&requests.len()));
            for (found, request) in found.iter().zip(&requests) {
                let expected = alone(&model, limits, request);
                let apart = (found.log_likelihood - expected.log_likelihood).abs();
                assert!(
                    apart < 1e-4,
                    "{request:?}: {found:?}, expected {expected:?}"
                );
                assert_eq!(found.is_greedy, expected.is_greedy, "{request:?}");
            }
        }
        let readings = readings(&requests, limits).unwrap();
        assert_eq!(common(&readings), 14 - 1);
        let stopped = likelihoods(&model, limits, &requests, |_| ControlFlow::Break(()));
        assert_eq!(stopped, Ok(None));
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        let model = CausalLm::<Selected>::init(&config(), 5, &Default::default());
        let score = |request| {
            let limits = Limits::of(&config());
            likelihoods(&model, limits, &[request], |_| ControlFlow::Continue(())).unwrap_err()
        };
        assert_eq!(score(request(&[], &[1])), GenerationError::Empty);
        assert_eq!(score(request(&[1], &[])), GenerationError::Empty);
        let unknown = GenerationError::UnknownId {
            id: 40,
            vocab_size: 40,
        };
        assert_eq!(score(request(&[40], &[1])), unknown);
        assert_eq!(score(request(&[1], &[40])), unknown);
        assert!(matches!(
            score(request(&[1], &[2; 25])),
            GenerationError::TooLong { .. }
        ));
    }
}
