//! Greedy generation until one of several texts, for many prompts at once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use darkhorse_backends::Ops;

use super::config::GenerationKwargs;
use super::encode::Encoder;
use super::error::TaskError;
use super::subject::Subject;
use crate::inference::{Engine, EngineConfig, Event, Finish, GenerationError, Request, RequestId};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::tokenizer::{TextStream, Tokenizer};

/// Most tokens that are generated, if a task does not say so.
const TOKENS: usize = 256;
/// Number of sequences that are generated at once.
const SEQUENCES: usize = 16;

/// Where a generation ends.
#[derive(Debug)]
pub(super) struct Stop {
    /// Texts that end it, those of the tokens that end a text included.
    texts: Vec<String>,
    ids: Vec<u32>,
    tokens: usize,
}

impl Stop {
    /// Ends of a task's generations; without `until`, the delimiter of its examples ends them.
    pub(super) fn of(
        kwargs: &GenerationKwargs,
        fewshot_delimiter: &str,
        tokenizer: &Tokenizer,
        stop_ids: &[u32],
    ) -> Self {
        let until = kwargs.until.as_ref().map(|it| it.list());
        let mut texts = until.unwrap_or_else(|| vec![fewshot_delimiter.into()]);
        let mut ids = stop_ids.to_vec();
        // control tokens have no text once they are decoded
        let control = texts.iter().filter_map(|text| tokenizer.token_id(text));
        ids.extend(control.filter(|id| tokenizer.decode(&[*id]).is_empty()));
        let end = tokenizer.eos_id().and_then(|id| tokenizer.token(id));
        texts.extend(end);
        texts.retain(|text| !text.is_empty());
        Self {
            texts,
            ids,
            tokens: kwargs.max_gen_toks.unwrap_or(TOKENS),
        }
    }

    /// The text before the first end, looked for one after the other.
    fn cut<'t>(&self, text: &'t str) -> &'t str {
        let texts = self.texts.iter();
        texts.fold(text, |text, end| {
            text.split(end.as_str()).next().unwrap_or(text)
        })
    }
}

/// A generation that runs.
struct Running {
    prompt: usize,
    ids: Vec<u32>,
    stream: TextStream,
    text: String,
}

/// Generates after each prompt. `progress` gets the number of prompts that are done.
pub(super) fn generate<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    subject: &Subject<'_, B, M, R>,
    prompts: &[&str],
    stop: &Stop,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<String>, TaskError> {
    let context = subject.limits.context;
    let longest = context.checked_sub(stop.tokens).filter(|it| *it > 0);
    let longest = longest.ok_or_else(|| TaskError::Task {
        task: "generate_until".into(),
        reason: format!(
            "`max_gen_toks` is {}, expected less than the model's context of {context} tokens",
            stop.tokens
        ),
    })?;
    let encoder = Encoder::new(subject.tokenizer);
    let config = EngineConfig {
        max_sequences: SEQUENCES,
        ..EngineConfig::default()
    };
    let mut engine = Engine::new(subject.model, subject.limits, config);
    let mut running: HashMap<RequestId, Running> = HashMap::new();
    for (prompt, text) in prompts.iter().enumerate() {
        let ids = encoder.prompt(text, longest)?;
        let mut request = Request::greedy(ids, stop.tokens);
        request.stop_ids.clone_from(&stop.ids);
        let stream = subject.tokenizer.stream();
        let id = engine.submit(request)?;
        running.insert(
            id,
            Running {
                prompt,
                ids: Vec::new(),
                stream,
                text: String::new(),
            },
        );
    }
    let mut texts = vec![String::new(); prompts.len()];
    let mut done = 0;
    let longest_end = stop.texts.iter().map(String::len).max().unwrap_or(0);
    while !engine.is_idle() {
        let mut ended = Vec::new();
        for event in engine.step() {
            match event {
                Event::Token { request, id, .. } => {
                    let Some(it) = running.get_mut(&request) else {
                        continue;
                    };
                    it.ids.push(id);
                    let mut from = it.text.len().saturating_sub(longest_end);
                    it.text.push_str(&it.stream.push(id).unwrap_or_default());
                    while !it.text.is_char_boundary(from) {
                        from -= 1;
                    }
                    let newest = &it.text[from..];
                    if stop.texts.iter().any(|end| newest.contains(end.as_str())) {
                        engine.cancel(request);
                        ended.push(request);
                    }
                }
                Event::Finished {
                    why: Finish::NotFinite(error),
                    ..
                } => return Err(GenerationError::from(error).into()),
                Event::Finished { request, .. } => ended.push(request),
                _ => {}
            }
        }
        for request in ended {
            let Some(it) = running.remove(&request) else {
                continue;
            };
            let text = subject.tokenizer.decode(&it.ids);
            texts[it.prompt] = stop.cut(&text).to_owned();
            done += 1;
            if progress(done).is_break() {
                return Err(TaskError::Stopped);
            }
        }
    }
    Ok(texts)
}
