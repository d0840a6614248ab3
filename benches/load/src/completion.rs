//! A streamed completion.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http::{Answer, request};

/// What to generate: a prompt, a number of tokens, and the seed of their draw.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) prompt: String,
    pub(crate) tokens: usize,
    /// `None`: greedy.
    pub(crate) seed: Option<u64>,
}

/// A completion, and when its parts came, counted from the request.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    pub(crate) text: String,
    /// Generated tokens as the server counts them.
    pub(crate) tokens: usize,
    pub(crate) first: Duration,
    pub(crate) last: Duration,
}

/// A completion that is on its way.
#[derive(Debug)]
pub(crate) struct Stream {
    answer: Answer,
    begin: Instant,
    pub(crate) done: Completion,
}

/// Asks for a completion; the end-of-text token does not end it.
pub(crate) fn start(url: &str, job: &Job) -> Result<Stream> {
    let begin = Instant::now();
    let mut body = json!({
        "prompt": job.prompt, "max_tokens": job.tokens, "stream": true, "ignore_eos": true,
        "stream_options": {"include_usage": true}, "temperature": 0,
    });
    if let Some(seed) = job.seed {
        body["temperature"] = json!(1.0);
        body["seed"] = json!(seed);
    }
    let answer = request(url, "/v1/completions", Some(body.to_string().as_bytes()))?;
    if answer.status != 200 {
        answer.text()?;
        bail!("a status other than 200 is no completion");
    }
    Ok(Stream {
        answer,
        begin,
        done: Completion::default(),
    })
}

/// The whole completion.
pub(crate) fn complete(url: &str, job: &Job) -> Result<Completion> {
    let mut stream = start(url, job)?;
    while stream.step()? {}
    Ok(stream.done)
}

impl Stream {
    /// Reads the next event; false at the end.
    pub(crate) fn step(&mut self) -> Result<bool> {
        let Some(data) = self.answer.event()? else {
            if self.done.tokens == 0 {
                bail!("the stream has no usage");
            }
            return Ok(false);
        };
        let event: Value = serde_json::from_str(&data).with_context(|| format!("event {data}"))?;
        if let Some(error) = event.get("error") {
            bail!("{error}");
        }
        if let Some(tokens) = event["usage"]["completion_tokens"].as_u64() {
            self.done.tokens = tokens as usize;
        }
        if let Some(text) = event["choices"][0]["text"].as_str() {
            self.done.last = self.begin.elapsed();
            if self.done.first.is_zero() {
                self.done.first = self.done.last;
            }
            self.done.text.push_str(text);
        }
        Ok(true)
    }
}
