//! One pass of the model over the next ids of several sequences.

use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;

use super::drafting;
use super::limits::PREFILL_CHUNK;
use super::routes::{LayerLog, RouteLog};
use super::sampling::Sampler;
use super::sequence::Sequence;
use super::turn::{Turn, joined};
use crate::domain::Domain;
use crate::model::cache::{CacheConfig, Extension};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::model::{CausalLm, Cause, Hidden, NotANumber, NotFinite, Part, are_finite};

/// Part of one sequence in a pass.
struct Span {
    first: usize,
    drafts: Vec<u32>,
    rows: usize,
    /// Number of last rows that need logits.
    logits: usize,
}

/// Reads the next ids of every sequence. If all ids of a sequence are read, chooses the next one, and further ones
/// where drafts are accepted, and appends them, unread. Returns, per sequence, the number of chosen ids, or why its
/// logits are not finite.
pub(super) fn advance<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
) -> Vec<Result<usize, NotFinite>> {
    let begin = Instant::now();
    let (drafts, mut failed) = drafting::draft(model, turns);
    let spans: Vec<Span> = turns
        .iter()
        .zip(drafts)
        .map(|(turn, drafts)| Span {
            first: turn.sequence.cache.len(),
            rows: turn.read + drafts.len(),
            logits: if turn.read == turn.sequence.unread() {
                1 + drafts.len()
            } else {
                0
            },
            drafts,
        })
        .collect();
    let input = joined(
        turns.iter().zip(&spans).map(|(turn, span)| {
            let ids = &turn.sequence.ids[span.first..][..turn.read];
            let ids = ids.iter().chain(&span.drafts).copied();
            (ids, span.first, turn.sequence.domain)
        }),
        &model.embed_tokens.device(),
    );
    let mut extensions: Vec<_> = turns
        .iter_mut()
        .zip(&spans)
        .map(|(turn, span)| Extension::new(&mut turn.sequence.cache, span.rows))
        .collect();
    let Hidden { states, routings } = model.extend(&input, &mut extensions);
    let records = turns.iter().any(|turn| turn.sequence.routes.is_some());
    let routes: Vec<LayerLog> = if records {
        routings.into_iter().map(LayerLog::of).collect()
    } else {
        Vec::new()
    };
    let logits = logits(model, &states, &spans);
    let mut logits = logits.chunks_exact(model.embed_tokens.dims()[0]);
    let mut at = 0;
    let mut chosen = Vec::new();
    for ((turn, span), failed) in turns.iter_mut().zip(&spans).zip(&mut failed) {
        let rows = logits.by_ref().take(span.logits);
        let count = choose(turn, &span.drafts, rows).unwrap_or_else(|NoNumbers| {
            let ids = &turn.sequence.ids;
            *failed = Some(diagnose(model, ids, turn.sequence.domain));
            0
        });
        let read = match count {
            0 => turn.read,
            // the last chosen id was not read, and drafts after it were rejected
            _ => turn.read + count - 1,
        };
        turn.sequence.cache.truncate(span.first + read);
        if let Some(drafter) = &mut turn.sequence.drafter {
            drafter.hear(span.first, states.clone().narrow(1, at, read));
        }
        if let Some(log) = &mut turn.sequence.routes {
            log.extend(&routes, at..at + read);
        }
        at += span.rows;
        chosen.push(count);
    }
    drafting::keep_up(model, turns);
    let seconds = begin.elapsed().as_secs_f64();
    for ((turn, span), &count) in turns.iter_mut().zip(&spans).zip(&chosen) {
        if let Some(drafter) = &mut turn.sequence.drafter
            && turn.read == 1
        {
            drafter.record(span.drafts.len(), count, seconds);
        }
    }
    let chosen = chosen.into_iter().zip(failed);
    chosen
        .map(|(count, failed)| failed.map_or(Ok(count), Err))
        .collect()
}

/// Error of non-finite logits.
struct NoNumbers;

/// Chooses ids while the drafts agree. `rows` are the logits after the last id read and after each draft.
fn choose<'l, B: Ops, M: TokenMixer<B>>(
    turn: &mut Turn<'_, B, M>,
    drafts: &[u32],
    rows: impl Iterator<Item = &'l [f32]>,
) -> Result<usize, NoNumbers> {
    let sequence = &mut *turn.sequence;
    let mut count = 0;
    let mut agrees = true;
    let mut found = Ok(());
    // consumes every row, so that the next sequence starts at its own
    for (at, row) in rows.enumerate() {
        if !agrees {
            continue;
        }
        if !are_finite(row) {
            found = Err(NoNumbers);
            agrees = false;
            continue;
        }
        sequence.logits.clear();
        sequence.logits.extend_from_slice(row);
        let Some(sampler) = turn.sampler else {
            continue;
        };
        let id = sampler.choose(row, &sequence.ids);
        sequence.ids.push(id);
        count += 1;
        agrees = drafts.get(at) == Some(&id);
    }
    found.map(|()| count)
}

/// Reads a sequence anew to find the first part of the model with non-finite values.
pub(super) fn diagnose<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    ids: &[u32],
    domain: Option<Domain>,
) -> NotFinite {
    let device = model.embed_tokens.device();
    let mut past = model.empty_cache(&CacheConfig::default());
    let mut pieces = ids.chunks(PREFILL_CHUNK);
    let found = pieces.find_map(|piece| {
        let span = (piece.iter().copied(), past.len(), domain);
        model.not_finite_next(&joined(std::iter::once(span), &device), &mut past)
    });
    found.unwrap_or(NotFinite {
        part: Part::Cache,
        found: NotANumber::Infinite,
        cause: Cause::Cached,
    })
}

/// Reads a whole sequence without cache, and chooses the next id if there is a sampler.
pub(super) fn read_anew<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    sequence: &mut Sequence<B, M>,
    sampler: Option<&Sampler>,
) -> Result<(), NotFinite> {
    let ids = sequence.ids.iter().copied();
    let device = model.embed_tokens.device();
    let input = joined(std::iter::once((ids, 0, sequence.domain)), &device);
    let Hidden { states, routings } = model.hidden(&input);
    if let Some(log) = &mut sequence.routes {
        let routes: Vec<LayerLog> = routings.into_iter().map(LayerLog::of).collect();
        *log = RouteLog::new(0);
        log.extend(&routes, 0..sequence.ids.len());
    }
    let last = states.narrow(1, sequence.ids.len() - 1, 1);
    sequence.logits = values(model.logits(last));
    if !are_finite(&sequence.logits) {
        let found = model.not_finite(&input);
        return Err(found.expect("what is computed twice is the same"));
    }
    if let Some(sampler) = sampler {
        let id = sampler.choose(&sequence.logits, &sequence.ids);
        sequence.ids.push(id);
    }
    Ok(())
}

pub(super) fn values<B: Ops>(tensor: Tensor<B, 3>) -> Vec<f32> {
    let values = tensor.into_data().convert::<f32>();
    values.into_vec().expect("they were just converted")
}

/// Logits of the rows that need them, concatenated.
fn logits<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    states: &Tensor<B, 3>,
    spans: &[Span],
) -> Vec<f32> {
    let mut end = 0;
    let rows = spans.iter().flat_map(|span| {
        end += span.rows;
        (end - span.logits..end).map(|row| row as i32)
    });
    let rows: Vec<i32> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let [_, all, _] = states.dims();
    let states = if rows.len() == all {
        states.clone()
    } else {
        let shape = [rows.len()];
        let rows = Tensor::from_data(TensorData::new(rows, shape), &states.device());
        states.clone().select(1, rows)
    };
    values(model.logits(states))
}
