//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: conversations in the form of Anthropic's interface.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::answer::Answering;
use super::blocks::Blocks;
use super::error::ApiError;
use super::events::{self, Protocol, Render};
use super::fields::{Fields, wrong};
use super::format::Format;
use super::message_input::messages;
use super::options::{Options, stops};
use super::speech::Speech;
use super::state::State;
use super::submission::beside;
use super::tools::{Choice, Tool, Tools};
use super::turn::{Ask, Begun};
use super::worker::{Ended, Reason, Update};

/// Path whose errors are in Anthropic's form.
pub(super) const MESSAGES: &str = "/v1/messages";

/// Answers a request.
pub(super) async fn create(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(&body)?;
    fields.only("n", |it| it.as_u64() == Some(1))?;
    let stops = stops(&mut fields, "stop_sequences")?;
    let mut options = Options::read(&mut fields, &ready)?;
    options.stops.extend(stops);
    let mut ask = conversation(&mut fields)?;
    let max_tokens = fields.count("max_tokens", 1..=usize::MAX)?;
    ask.max_tokens = Some(max_tokens.ok_or_else(|| {
        ApiError::field(
            "max_tokens",
            "`max_tokens` is missing, expected a whole number, 1 or more",
        )
    })?);
    refuse_unsupported(&mut fields)?;
    fields.end()?;

    let streams = options.streams;
    let begun = ask.begin("msg_", options, state, ready).await?;
    let Begun {
        answering,
        updates,
        mut speeches,
    } = begun;
    let mut message = Message {
        answering,
        speech: speeches.remove(0),
        blocks: Blocks::default(),
        is_ended: false,
    };
    if streams {
        return Ok(events::stream(updates, message));
    }
    let mut all = message.answering.collect(updates).await?;
    let whole = all.remove(0);
    let mut parts = message.speech.push(&whole.piece.text);
    parts.extend(message.speech.finish());
    message.blocks.take(parts);
    message.blocks.close();
    let mut answer = message.envelope();
    answer["content"] = message.blocks.content();
    if let Some(ended) = &whole.ended {
        let [reason, stop] = message.reason(ended);
        answer["stop_reason"] = reason;
        answer["stop_sequence"] = stop;
        answer["usage"] = message.usage();
        message.answering.conclude(&mut answer, 0, ended);
    }
    Ok(Json(answer).into_response())
}

/// Number of tokens of a conversation, with its system and tools.
pub(super) async fn count_tokens(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(&body)?;
    fields.only_model(&ready.name)?;
    let ask = conversation(&mut fields)?;
    refuse_unsupported(&mut fields)?;
    fields.end()?;
    let prompt = beside(&ready, move |ready| ask.prompt(ready)).await?;
    Ok(Json(json!({"input_tokens": prompt.len()})))
}

/// Refuses fields that Anthropic knows, that are not supported, and that ask for something.
fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let is_empty = |it: &Value| it.as_array().is_some_and(Vec::is_empty);
    fields.only("thinking", |it| *it == json!({"type": "disabled"}))?;
    fields.only("mcp_servers", is_empty)?;
    fields.only("container", |_| false)
}

/// What to answer, but for the number of tokens.
fn conversation(fields: &mut Fields) -> Result<Ask, ApiError> {
    Ok(Ask {
        messages: messages(fields)?,
        tools: tools(fields)?,
        format: Format::Text,
        max_tokens: None,
        scoring: None,
    })
}

/// Reads `tools` and `tool_choice`.
fn tools(fields: &mut Fields) -> Result<Tools, ApiError> {
    let all = fields.list("tools")?.into_iter().map(|tool| {
        let refused = || wrong("tools", &tool, "tools with a `name` and an `input_schema`");
        let mut fields = Fields::of(tool.as_object().cloned().ok_or_else(refused)?);
        let in_tools =
            |error: ApiError| ApiError::field("tools", format!("in `tools`: {}", error.message));
        fields.only("type", |it| it == "custom").map_err(in_tools)?;
        fields.take("cache_control");
        let name = fields.text("name").map_err(in_tools)?.ok_or_else(refused)?;
        let description = fields.text("description").map_err(in_tools)?;
        let schema = fields.take("input_schema").ok_or_else(refused)?;
        fields.flag("strict").map_err(in_tools)?;
        fields.end().map_err(in_tools)?;
        Tool::new(name, description, Some(schema))
    });
    let all = all.collect::<Result<Vec<Tool>, _>>()?;
    let Some(value) = fields.take("tool_choice") else {
        return Tools::new(all, Choice::Auto, true);
    };
    let refused = || {
        let expected =
            "an object with a `type` of \"auto\", \"any\", \"tool\" (with a `name`) or \"none\"";
        wrong("tool_choice", &value, expected)
    };
    let mut given = Fields::of(value.as_object().cloned().ok_or_else(refused)?);
    let name = given.text("name").map_err(|_| refused())?;
    let single = given
        .flag("disable_parallel_tool_use")
        .map_err(|_| refused())?;
    let choice = match (given.text("type").map_err(|_| refused())?.as_deref(), name) {
        (Some("auto"), None) => Choice::Auto,
        (Some("any"), None) => Choice::Required,
        (Some("none"), None) => Choice::Never,
        (Some("tool"), Some(name)) => Choice::Named(name),
        _ => return Err(refused()),
    };
    given.end().map_err(|_| refused())?;
    Tools::new(all, choice, !single.unwrap_or(false))
}

/// The rendering of an answer.
#[derive(Debug)]
struct Message {
    answering: Answering,
    speech: Speech,
    blocks: Blocks,
    is_ended: bool,
}

impl Message {
    /// A message that has said nothing.
    fn envelope(&self) -> Value {
        json!({
            "id": self.answering.id,
            "type": "message",
            "role": "assistant",
            "model": self.answering.ready.name,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage(),
        })
    }

    /// Numbers of tokens. Those that an earlier prompt shares are known at the end.
    fn usage(&self) -> Value {
        let tokens = self.answering.tokens();
        let mut usage = json!({
            "input_tokens": tokens.prompt - tokens.shared,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": tokens.shared,
            "output_tokens": tokens.generated,
        });
        if let Some(energy) = self.answering.energy() {
            usage["energy"] = energy;
        }
        usage
    }

    /// Why the answer ends, and the stop string that has ended it.
    fn reason(&self, ended: &Ended) -> [Value; 2] {
        let given = &self.answering.options.stops;
        let stop = ended.stop.as_ref().filter(|stop| given.contains(stop));
        let reason = match ended.reason {
            Reason::Length => "max_tokens",
            Reason::Stop if stop.is_some() => "stop_sequence",
            Reason::Stop if self.blocks.has_calls() => "tool_use",
            Reason::Stop => "end_turn",
        };
        [reason.into(), stop.cloned().into()]
    }
}

impl Render for Message {
    const PROTOCOL: Protocol = Protocol::Named;

    fn begin(&mut self) -> Vec<Value> {
        vec![json!({"type": "message_start", "message": self.envelope()})]
    }

    fn update(&mut self, _: usize, update: Update) -> Vec<Value> {
        match update {
            Update::Piece(piece) => self.blocks.take(self.speech.push(&piece.text)),
            Update::Ended(ended) => {
                self.answering.count(0, &ended);
                self.is_ended = true;
                let mut events = self.blocks.take(self.speech.finish());
                events.extend(self.blocks.close());
                let [reason, stop] = self.reason(&ended);
                let mut last = json!({
                    "type": "message_delta",
                    "delta": {"stop_reason": reason, "stop_sequence": stop},
                    "usage": self.usage(),
                });
                self.answering.conclude(&mut last, 0, &ended);
                events.push(last);
                events.push(json!({"type": "message_stop"}));
                events
            }
            Update::Prompt(_) | Update::Failed(_) => Vec::new(),
        }
    }

    fn end(&mut self) -> Option<Vec<Value>> {
        self.is_ended.then(Vec::new)
    }

    fn failed(&mut self, message: String) -> Vec<Value> {
        vec![ApiError::internal(message).anthropic()]
    }
}
