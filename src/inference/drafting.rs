//! Drafts of the next tokens by the model's multi-token prediction (MTP) modules, to be verified by a pass.
//!
//! Speculative decoding (Leviathan et al., <https://arxiv.org/abs/2211.17192>) with the modules of DeepSeek-V3
//! (<https://arxiv.org/abs/2412.19437>, section 2.2). A draft is accepted only if the sampler chooses it anyway, so
//! the text is that of plain decoding.
//!
//! At position `i`, module `m` reads the state of the module before it (for the first: of the model) and token
//! `i + m + 1`, and predicts token `i + m + 2`. Beyond the last module, that module continues with its own states.

use burn::tensor::Tensor;
use darkhorse_backends::Ops;

use super::speculation::{Speculation, When};
use super::turn::{Turn, joined};
use crate::model::cache::{Extension, REVERSIBLE};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::model::{CausalLm, NotANumber, NotFinite, Part, are_finite};

/// Maximum number of drafts per pass: all of them, and the token before, can be taken back.
const MOST: usize = REVERSIBLE - 1;
/// Number of waiting states above which their module reads them even without drafting.
const WAITING: usize = 128;

impl<B: Ops, M: TokenMixer<B>> Turn<'_, B, M> {
    /// Number of tokens to draft for this pass.
    fn depth(&self) -> usize {
        let one = self.sequence.unread() == 1 && self.read == 1 && self.sampler.is_some();
        match &self.sequence.drafter {
            // drafting needs the model's state at the last position
            Some(drafter) if one && drafter.modules[0].waiting() > 0 => {
                let room = self.context.saturating_sub(self.sequence.ids.len());
                let wanted = match drafter.speculation.when {
                    When::Always => true,
                    When::ItPays => drafter.pace.pays(),
                };
                if wanted {
                    drafter.speculation.depth.min(room).min(MOST)
                } else {
                    0
                }
            }
            _ => 0,
        }
    }
}

/// State of a module at one position of one sequence.
struct Step<B: Ops> {
    turn: usize,
    state: Tensor<B, 3>,
    position: usize,
    /// Joint probability of all drafts so far.
    probability: f32,
}

/// Drafts for the sequences with one unread id and a drafter, in turn order, and the error of every sequence whose
/// module gave non-finite logits.
pub(super) fn draft<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
) -> (Vec<Vec<u32>>, Vec<Option<NotFinite>>) {
    let depths: Vec<usize> = turns.iter().map(Turn::depth).collect();
    let mut drafts = vec![Vec::new(); turns.len()];
    let mut failed = vec![None; turns.len()];
    for (turn, &depth) in turns.iter_mut().zip(&depths) {
        if let Some(drafter) = &mut turn.sequence.drafter {
            drafter.tried = depth > 0;
        }
    }
    let deepest = depths.iter().copied().max().unwrap_or(0);
    let last = model.mtp.len().saturating_sub(1);
    let mut steps = Vec::new();
    if deepest > 0 {
        steps = read_waiting(model, turns, 0, |turn| depths[turn] > 0);
        for module in 1..=last {
            read_waiting(model, turns, module, |turn| depths[turn] > 0);
        }
    }
    let read: Vec<_> = turns
        .iter()
        .map(|turn| turn.sequence.drafter.as_ref())
        .map(|drafter| drafter.map(|drafter| drafter.remember(deepest)))
        .collect();
    for depth in 0..deepest {
        if depth > 0 {
            let module = depth.min(last);
            steps.retain(|step| {
                let speculation = speculation(turns, step);
                depths[step.turn] > depth && step.probability >= speculation.min_to_extend
            });
            for step in &mut steps {
                step.position += usize::from(depth > last);
            }
            if steps.is_empty() {
                break;
            }
            steps = guess(model, turns, module, steps, &drafts);
        }
        let states = Tensor::cat(steps.iter().map(|step| step.state.clone()).collect(), 1);
        let logits = model.logits(states);
        let dtype = logits.dtype();
        let logits = logits.into_data().convert::<f32>();
        let logits: Vec<f32> = logits.into_vec().expect("they were just converted");
        let rows = logits.chunks_exact(logits.len() / steps.len());
        for (step, row) in steps.iter_mut().zip(rows) {
            if !are_finite(row) {
                let found = if row.iter().any(|logit| logit.is_nan()) {
                    NotANumber::NaN
                } else {
                    NotANumber::Infinite
                };
                let part = Part::Mtp(depth.min(last));
                failed[step.turn] = Some(model.explain(part, found, dtype));
                step.probability = f32::NAN;
                continue;
            }
            let turn = &turns[step.turn];
            let sampler = turn.sampler.expect("only what is sampled is drafted");
            let past = [&turn.sequence.ids[..], &drafts[step.turn][..]].concat();
            let id = sampler.choose(row, &past);
            step.probability *= probability(row, id);
            drafts[step.turn].push(id);
        }
        steps.retain(|step| {
            let likely = step.probability >= speculation(turns, step).min_probability;
            // a failed sequence has no draft at this depth
            if !likely && drafts[step.turn].len() > depth {
                drafts[step.turn].pop();
            }
            likely
        });
    }
    for (turn, read) in turns.iter_mut().zip(read) {
        if let (Some(drafter), Some(read)) = (&mut turn.sequence.drafter, read) {
            drafter.forget_guesses(read);
        }
    }
    (drafts, failed)
}

/// Reads long queues of waiting states, to bound their memory.
pub(super) fn keep_up<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
) {
    let long = |turn: &Turn<'_, B, M>| match &turn.sequence.drafter {
        Some(drafter) => drafter.modules[0].waiting() > WAITING,
        None => false,
    };
    let long: Vec<bool> = turns.iter().map(long).collect();
    if long.contains(&true) {
        for module in 0..model.mtp.len() {
            read_waiting(model, turns, module, |turn| long[turn]);
        }
    }
}

/// Reads all waiting states of a module whose tokens ahead are known. Returns its last state per sequence.
fn read_waiting<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
    module: usize,
    concerned: impl Fn(usize) -> bool,
) -> Vec<Step<B>> {
    let mut spans = Vec::new();
    let mut states = Vec::new();
    for (at, turn) in turns
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| concerned(*at))
    {
        let known = turn.sequence.ids.len();
        let Some(drafter) = &mut turn.sequence.drafter else {
            continue;
        };
        let listener = &mut drafter.modules[module];
        let readable = known.saturating_sub(listener.next + module + 1);
        let count = listener.waiting().min(readable);
        if count > 0 {
            states.push(listener.take(count));
            spans.push((at, listener.next, count));
        }
    }
    if spans.is_empty() {
        return Vec::new();
    }
    let ahead = joined(
        spans.iter().map(|&(at, first, count)| {
            let sequence = &turns[at].sequence;
            let ids = sequence.ids[first + module + 1..][..count].iter().copied();
            (ids, first, sequence.domain)
        }),
        &model.embed_tokens.device(),
    );
    let mut extensions = Vec::new();
    for (at, turn) in turns.iter_mut().enumerate() {
        let span = spans.iter().find(|span| span.0 == at);
        if let (Some(&(_, _, count)), Some(drafter)) = (span, &mut turn.sequence.drafter) {
            let past = &mut drafter.modules[module].past;
            extensions.push(Extension::new(past, count));
        }
    }
    let states = model.draft(module, Tensor::cat(states, 1), &ahead, &mut extensions);
    let mut begin = 0;
    let mut steps = Vec::new();
    for (at, first, count) in spans {
        let own = states.states.clone().narrow(1, begin, count);
        begin += count;
        steps.push(Step {
            turn: at,
            state: own.clone().narrow(1, count - 1, 1),
            position: first + count - 1,
            probability: 1.0,
        });
        let drafter = turns[at].sequence.drafter.as_mut().expect("it has read");
        drafter.modules[module].next = first + count;
        if let Some(next) = drafter.modules.get_mut(module + 1) {
            next.hear(first, own);
        }
    }
    steps
}

/// Reads the newest drafts with a module, as if they were accepted.
fn guess<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    model: &CausalLm<B, M, R>,
    turns: &mut [Turn<'_, B, M>],
    module: usize,
    steps: Vec<Step<B>>,
    drafts: &[Vec<u32>],
) -> Vec<Step<B>> {
    let ahead = joined(
        steps.iter().map(|step| {
            let newest = drafts[step.turn].last().copied();
            let domain = turns[step.turn].sequence.domain;
            (newest.into_iter(), step.position, domain)
        }),
        &model.embed_tokens.device(),
    );
    let states = Tensor::cat(steps.iter().map(|step| step.state.clone()).collect(), 1);
    let mut extensions = Vec::new();
    for (at, turn) in turns.iter_mut().enumerate() {
        let guessed = steps.iter().any(|step| step.turn == at);
        if let (true, Some(drafter)) = (guessed, &mut turn.sequence.drafter) {
            extensions.push(Extension::new(&mut drafter.modules[module].past, 1));
        }
    }
    let states = model.draft(module, states, &ahead, &mut extensions).states;
    let steps = steps.into_iter().enumerate();
    steps
        .map(|(row, step)| Step {
            state: states.clone().narrow(1, row, 1),
            ..step
        })
        .collect()
}

/// Speculation settings of a step's sequence.
fn speculation<B: Ops, M: TokenMixer<B>>(turns: &[Turn<'_, B, M>], step: &Step<B>) -> Speculation {
    let drafter = &turns[step.turn].sequence.drafter;
    drafter.as_ref().expect("it has drafted").speculation
}

/// Probability of one id under the logits.
fn probability(logits: &[f32], id: u32) -> f32 {
    let of = logits[id as usize];
    let sum: f32 = logits.iter().map(|logit| (logit - of).exp()).sum();
    sum.recip()
}
