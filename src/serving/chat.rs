//! `POST /v1/chat/completions`: continues a conversation, by the model's chat template.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::answer::Answering;
use super::error::ApiError;
use super::events::{self, Render};
use super::fields::Fields;
use super::format::Format;
use super::options::{MOST_LIKELY, Options};
use super::output::{OutputToken, Piece};
use super::said::Said;
use super::state::{Ready, State};
use super::tools::Tools;
use super::turn::{Ask, Begun, prepare};
use super::worker::{Ended, Update};
use crate::inference::Scoring;
use crate::tokenizer::chat::Conversation;

/// Answers a request.
pub(super) async fn chat(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(&body)?;
    let options = Options::read(&mut fields, &ready)?;
    refuse_unsupported(&mut fields)?;
    let format = Format::of_chat(&mut fields)?;
    let tools = Tools::of_chat(&mut fields)?;
    let messages = messages(&mut fields)?;
    let newer = fields.count("max_completion_tokens", 1..=usize::MAX)?;
    let max_tokens = newer.or(fields.count("max_tokens", 1..=usize::MAX)?);
    let scores = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=MOST_LIKELY)?;
    if top.is_some_and(|top| top > 0) && !scores {
        return Err(ApiError::field(
            "top_logprobs",
            "`top_logprobs` needs `logprobs`: set that to true",
        ));
    }
    fields.end()?;

    let ask = Ask {
        messages,
        tools,
        format,
        max_tokens,
        scoring: scores.then_some(Scoring {
            top: top.unwrap_or(0),
            prompt: false,
        }),
    };
    let streams = options.streams;
    let Begun {
        answering,
        updates,
        speeches,
    } = ask.begin("chatcmpl-", options, state, ready).await?;
    let mut chat = Chat {
        answering,
        scores,
        ended: 0,
        said: speeches.into_iter().map(Said::new).collect(),
    };
    if streams {
        return Ok(events::stream(updates, chat));
    }
    let all = chat.answering.collect(updates).await?;
    let choices = all.into_iter().enumerate().map(|(index, whole)| {
        let message = chat.said[index].message(&whole.piece.text);
        let logprobs = chat.logprobs(&whole.piece.tokens);
        chat.choice(index, ("message", message), logprobs, whole.ended.as_ref())
    });
    let choices = choices.collect();
    let mut answer = chat.envelope("chat.completion", choices);
    answer["usage"] = chat.answering.usage();
    Ok(Json(answer).into_response())
}

/// Refuses fields that OpenAI knows, that are not supported, and that ask for something.
fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let is_empty = |it: &Value| it.as_array().is_some_and(Vec::is_empty);
    fields.only("functions", is_empty)?;
    fields.only("function_call", |it| it == "none" || it == "auto")?;
    fields.only("modalities", |it| *it == json!(["text"]))
}

/// The messages of a request.
fn messages(fields: &mut Fields) -> Result<Value, ApiError> {
    let missing = || {
        ApiError::field(
            "messages",
            "`messages` is missing, expected a list of turns",
        )
    };
    fields.take("messages").ok_or_else(missing)
}

/// The conversation of a request without tools.
pub(super) fn conversation(fields: &mut Fields) -> Result<Conversation, ApiError> {
    let mut messages = messages(fields)?;
    prepare(&mut messages)?;
    let parsed = Conversation::parse(&messages, None);
    parsed.map_err(|error| ApiError::field("messages", error.to_string()))
}

/// The rendering of an answer.
#[derive(Debug)]
struct Chat {
    answering: Answering,
    scores: bool,
    ended: usize,
    /// What each sequence has said.
    said: Vec<Said>,
}

impl Chat {
    fn envelope(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.answering.id,
            "object": object,
            "created": self.answering.created,
            "model": self.answering.ready.name,
            "choices": choices,
        })
    }

    fn choice(
        &self,
        index: usize,
        (key, content): (&str, Value),
        logprobs: Option<Value>,
        ended: Option<&Ended>,
    ) -> Value {
        let mut choice = json!({"index": index});
        choice[key] = content;
        choice["logprobs"] = logprobs.into();
        let reason = |ended: &Ended| self.said[index].reason(ended.reason);
        choice["finish_reason"] = ended.map(reason).into();
        if let Some(ended) = ended {
            self.answering.conclude(&mut choice, index, ended);
        }
        choice
    }

    /// Log-probabilities of the tokens of a text, without the one that ends the turn.
    fn logprobs(&self, tokens: &[OutputToken]) -> Option<Value> {
        if !self.scores {
            return None;
        }
        let ready = &self.answering.ready;
        let ends = |id| !self.answering.options.ignores_end && ready.turn_stop_ids.contains(&id);
        let shown = tokens.iter().filter(|token| !ends(token.id));
        let content: Vec<Value> = shown
            .map(|token| {
                let score = token.score.as_ref();
                let mut all = scored(token.id, score.map(|it| it.log_probability), ready);
                let top = score.map_or(&[][..], |score| &score.top);
                let top = top.iter().map(|&(id, it)| scored(id, Some(it), ready));
                all["top_logprobs"] = top.collect();
                all
            })
            .collect();
        Some(json!({"content": content, "refusal": null}))
    }

    fn event(&self, choice: Value) -> Value {
        let mut event = self.envelope("chat.completion.chunk", vec![choice]);
        if self.answering.options.tells_usage {
            event["usage"] = Value::Null;
        }
        event
    }
}

/// A token with its log-probability. Special tokens have no bytes, so that those of the others are the text's.
fn scored(id: u32, log_probability: Option<f64>, ready: &Ready) -> Value {
    let bytes = ready.token_bytes(id);
    let token = String::from_utf8_lossy(&bytes).into_owned();
    let bytes = (!ready.tokenizer.is_special(id)).then_some(bytes);
    json!({"token": token, "logprob": log_probability, "bytes": bytes})
}

impl Render for Chat {
    fn begin(&mut self) -> Vec<Value> {
        let first = json!({"role": "assistant", "content": "", "refusal": null});
        let sequences = 0..self.answering.sequences();
        let events = sequences
            .map(|index| self.event(self.choice(index, ("delta", first.clone()), None, None)));
        events.collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Value> {
        match update {
            Update::Piece(piece) if piece != Piece::default() => {
                let mut logprobs = self.logprobs(&piece.tokens);
                let mut deltas = self.said[index].deltas(&piece.text);
                if deltas.is_empty() && logprobs.is_some() {
                    deltas.push(json!({"content": ""}));
                }
                let deltas = deltas.into_iter();
                let events = deltas.map(|delta| {
                    let choice = self.choice(index, ("delta", delta), logprobs.take(), None);
                    self.event(choice)
                });
                events.collect()
            }
            Update::Ended(ended) => {
                self.answering.count(index, &ended);
                self.ended += 1;
                let rest = self.said[index].last_deltas().into_iter();
                let rest = rest.map(|delta| (delta, None));
                let deltas = rest.chain([(json!({}), Some(&*ended))]);
                let events = deltas.map(|(delta, ended)| {
                    self.event(self.choice(index, ("delta", delta), None, ended))
                });
                events.collect()
            }
            Update::Piece(_) | Update::Prompt(_) | Update::Failed(_) => Vec::new(),
        }
    }

    fn end(&mut self) -> Option<Vec<Value>> {
        if self.ended < self.answering.sequences() {
            return None;
        }
        if !self.answering.options.tells_usage {
            return Some(Vec::new());
        }
        let mut event = self.envelope("chat.completion.chunk", Vec::new());
        event["usage"] = self.answering.usage();
        Some(vec![event])
    }
}
