//! One pass of the model over the next ids of several sequences.

use std::ops::Range;
use std::time::Instant;

use darkhorse_backends::Ops;

use super::drafting;
use super::head::{Rows, values};
use super::limits::PREFILL_CHUNK;
use super::routes::{LayerLog, Recording, RouteLog};
use super::sampling::Sampler;
use super::scores::TokenScore;
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
    /// Number of rows before the last ones whose next id is known and scored.
    scored: usize,
    /// Number of last rows after which ids are chosen.
    choosing: usize,
}

/// What a pass has done.
pub(super) struct Passed {
    /// Per sequence, the number of chosen ids, or why its logits are not finite.
    pub(super) chosen: Vec<Result<usize, NotFinite>>,
    /// Rows of each sequence that stay in its cache.
    pub(super) kept: Vec<Range<usize>>,
    /// Number of rows of each sequence, rejected drafts included.
    pub(super) computed: Vec<usize>,
    /// Routes of all rows, if they are recorded.
    pub(super) routes: Vec<LayerLog>,
}

/// Reads the next ids of every sequence. If all ids of a sequence are read, chooses the next one, and further ones
/// where drafts are accepted, and appends them, unread. Routes are recorded if `recording` or a sequence asks for
/// them.
pub(super) fn advance<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
    recording: Recording,
) -> Passed {
    let begin = Instant::now();
    let (drafts, mut failed) = drafting::draft(model, turns);
    let spans: Vec<Span> = turns
        .iter()
        .zip(drafts)
        .map(|(turn, drafts)| Span {
            first: turn.sequence.cache.len(),
            rows: turn.read + drafts.len(),
            scored: turn.scored(),
            choosing: if turn.read == turn.sequence.unread() {
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
    let routes: Vec<LayerLog> = if records || recording != Recording::Off {
        routings.into_iter().map(LayerLog::of).collect()
    } else {
        Vec::new()
    };
    let mut logits = Rows::new(model, states.clone(), rows_with_logits(&spans));
    let mut at = 0;
    let (mut chosen, mut kept) = (Vec::new(), Vec::new());
    for ((turn, span), failed) in turns.iter_mut().zip(&spans).zip(&mut failed) {
        let scored = score(turn, span, &mut logits);
        let count = choose(turn, span, &mut logits);
        let count = scored.and(count).unwrap_or_else(|NoNumbers| {
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
        kept.push(at..at + read);
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
    Passed {
        chosen: chosen
            .map(|(count, failed)| failed.map_or(Ok(count), Err))
            .collect(),
        kept,
        computed: spans.iter().map(|span| span.rows).collect(),
        routes,
    }
}

/// Error of non-finite logits.
struct NoNumbers;

impl<B: Ops, M: TokenMixer<B>> Turn<'_, B, M> {
    /// Number of ids that are known, follow those read in this pass, and are scored.
    fn scored(&self) -> usize {
        let scores = self.sequence.scores.as_ref();
        let scores_prompt = scores.is_some_and(|scores| scores.scoring.prompt);
        // a single unread id is the last one of the prompt, or was chosen and scored before
        if scores_prompt && self.sequence.unread() > 1 {
            self.read.min(self.sequence.unread() - 1)
        } else {
            0
        }
    }
}

/// Scores the known ids after the first rows. `rows` gives the logits after each row.
fn score<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    turn: &mut Turn<'_, B, M>,
    span: &Span,
    rows: &mut Rows<'_, B, M, R>,
) -> Result<(), NoNumbers> {
    let sequence = &mut *turn.sequence;
    let Some(scores) = &mut sequence.scores else {
        return Ok(());
    };
    let mut found = Ok(());
    // consumes every row, so that the next sequence starts at its own
    for &id in &sequence.ids[span.first + 1..][..span.scored] {
        match TokenScore::of(rows.next(), id, scores.scoring.top) {
            Some(score) => scores.prompt.push(score),
            None => found = Err(NoNumbers),
        }
    }
    found
}

/// Chooses ids while the drafts agree. `rows` gives the logits after the last id read and after each draft.
fn choose<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    turn: &mut Turn<'_, B, M>,
    span: &Span,
    rows: &mut Rows<'_, B, M, R>,
) -> Result<usize, NoNumbers> {
    let sequence = &mut *turn.sequence;
    let mut count = 0;
    let mut agrees = true;
    let mut found = Ok(());
    // consumes every row, so that the next sequence starts at its own
    for at in 0..span.choosing {
        let row = rows.next();
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
        let id = match &mut sequence.constraint {
            Some(constraint) => constraint.choose(row, &sequence.ids, sampler),
            None => Some(sampler.choose(row, &sequence.ids)),
        };
        let Some(id) = id else {
            agrees = false;
            continue;
        };
        sequence.ids.push(id);
        if let Some(scores) = &mut sequence.scores {
            let score = TokenScore::of(row, id, scores.scoring.top);
            scores.chosen.extend(score);
        }
        count += 1;
        agrees = span.drafts.get(at) == Some(&id);
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

/// Rows whose logits are needed.
fn rows_with_logits(spans: &[Span]) -> Vec<i32> {
    let mut begin = 0;
    let rows = spans.iter().flat_map(|span| {
        let end = begin + span.rows;
        let scored = begin..begin + span.scored;
        begin = end;
        scored.chain(end - span.choosing..end)
    });
    rows.map(|row| row as i32).collect()
}
