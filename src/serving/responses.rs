//! `POST /v1/responses`: OpenAI's newer interface for conversations. Nothing is stored: a request has the whole
//! conversation.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::answer::Answering;
use super::error::ApiError;
use super::events::{self, Protocol, Render};
use super::fields::{Fields, wrong};
use super::format::Format;
use super::items::Items;
use super::options::Options;
use super::response_input::messages;
use super::speech::Speech;
use super::state::State;
use super::tools::Tools;
use super::turn::{Ask, Begun};
use super::worker::{Ended, Reason, Update};

/// Answers a request.
pub(super) async fn responses(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(&body)?;
    fields.only("n", |it| it.as_u64() == Some(1))?;
    let options = Options::read(&mut fields, &ready)?;
    refuse_unsupported(&mut fields)?;
    let echoed = Echoed::of(&fields);
    let format = text_format(&mut fields)?;
    let tools = Tools::read(&mut fields, |tool| Ok(without_type(tool)))?;
    let max_tokens = fields.count("max_output_tokens", 1..=usize::MAX)?;
    let instructions = fields.text("instructions")?;
    let messages = messages(&mut fields, instructions)?;
    fields.end()?;

    let ask = Ask {
        messages,
        tools,
        format,
        max_tokens,
        scoring: None,
    };
    let streams = options.streams;
    let begun = ask.begin("resp_", options, state, ready).await?;
    let Begun {
        answering,
        updates,
        mut speeches,
    } = begun;
    let mut response = Respond {
        answering,
        echoed,
        speech: speeches.remove(0),
        items: Items::default(),
        sequence: 0,
        is_ended: false,
    };
    if streams {
        return Ok(events::stream(updates, response));
    }
    let mut all = response.answering.collect(updates).await?;
    let whole = all.remove(0);
    let mut parts = response.speech.push(&whole.piece.text);
    parts.extend(response.speech.finish());
    response.items.take(parts);
    response
        .items
        .close(whole.ended.as_ref().map(|it| it.reason));
    Ok(Json(response.object(whole.ended.as_ref())).into_response())
}

/// Refuses fields that OpenAI knows, that are not supported, and that ask for something.
fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    let is_absent = |_: &Value| false;
    fields.only("previous_response_id", is_absent)?;
    fields.only("conversation", is_absent)?;
    fields.only("prompt", is_absent)?;
    fields.only("max_tool_calls", is_absent)?;
    fields.only("background", |it| it == false)?;
    fields.only("truncation", |it| it == "disabled")?;
    fields.only("top_logprobs", |it| it.as_u64() == Some(0))?;
    // encrypted reasoning and the like, of which there is none
    fields.only("include", |it| {
        let names = it.as_array().map(|it| it.iter().map(Value::as_str));
        names.is_some_and(|mut it| {
            it.all(|name| name.is_some_and(|it| it != "message.output_text.logprobs"))
        })
    })?;
    // models here reason as their template has it
    fields.object("reasoning").map(drop)
}

/// `text`: its `format`, and how much to say, which changes nothing here.
fn text_format(fields: &mut Fields) -> Result<Format, ApiError> {
    let Some(mut text) = fields.object("text")? else {
        return Ok(Format::Text);
    };
    let in_text =
        |error: ApiError| ApiError::field("text", format!("in `text`: {}", error.message));
    text.text("verbosity").map_err(in_text)?;
    let format = Format::of_responses(&mut text)?;
    text.end().map_err(in_text)?;
    Ok(format)
}

/// The definition of a function, which stands beside its type here.
fn without_type(tool: &Value) -> Value {
    let mut function = tool.clone();
    if let Some(function) = function.as_object_mut() {
        function.shift_remove("type");
    }
    function
}

/// Settings that a response repeats.
#[derive(Debug)]
struct Echoed(Value);

impl Echoed {
    fn of(fields: &Fields) -> Self {
        let or = |name: &str, default: Value| fields.peek(name).cloned().unwrap_or(default);
        Self(json!({
            "instructions": or("instructions", Value::Null),
            "max_output_tokens": or("max_output_tokens", Value::Null),
            "metadata": or("metadata", json!({})),
            "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
            "text": or("text", json!({"format": {"type": "text"}})),
            "tool_choice": or("tool_choice", json!("auto")),
            "tools": or("tools", json!([])),
            "user": or("user", Value::Null),
        }))
    }
}

/// The rendering of a response.
#[derive(Debug)]
struct Respond {
    answering: Answering,
    echoed: Echoed,
    speech: Speech,
    items: Items,
    /// Number of events so far.
    sequence: usize,
    is_ended: bool,
}

impl Respond {
    /// The response, which has ended or goes on.
    fn object(&self, ended: Option<&Ended>) -> Value {
        let answering = &self.answering;
        let sampling = &answering.options.sampling;
        let (status, incomplete) = match ended.map(|it| it.reason) {
            None => ("in_progress", Value::Null),
            Some(Reason::Stop) => ("completed", Value::Null),
            Some(Reason::Length) => ("incomplete", json!({"reason": "max_output_tokens"})),
        };
        let mut object = json!({
            "id": answering.id,
            "object": "response",
            "created_at": answering.created,
            "status": status,
            "error": null,
            "incomplete_details": incomplete,
            "model": answering.ready.name,
            "output": self.items.done(),
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": false,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": null,
        });
        if let (Value::Object(all), Value::Object(echoed)) = (&mut object, &self.echoed.0) {
            all.extend(echoed.clone());
        }
        if let Some(ended) = ended {
            let tokens = answering.tokens();
            object["usage"] = json!({
                "input_tokens": tokens.prompt,
                "input_tokens_details": {"cached_tokens": tokens.shared},
                "output_tokens": tokens.generated,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens.prompt + tokens.generated,
            });
            if let Some(energy) = answering.energy() {
                object["usage"]["energy"] = energy;
            }
            answering.conclude(&mut object, 0, ended);
        }
        object
    }

    /// Numbers events.
    fn numbered(&mut self, events: Vec<Value>) -> Vec<Value> {
        let numbered = events.into_iter().map(|mut event| {
            event["sequence_number"] = self.sequence.into();
            self.sequence += 1;
            event
        });
        numbered.collect()
    }
}

impl Render for Respond {
    const PROTOCOL: Protocol = Protocol::Named;

    fn begin(&mut self) -> Vec<Value> {
        let names = ["response.created", "response.in_progress"];
        let events = names.map(|name| json!({"type": name, "response": self.object(None)}));
        self.numbered(events.to_vec())
    }

    fn update(&mut self, _: usize, update: Update) -> Vec<Value> {
        match update {
            Update::Piece(piece) => {
                let parts = self.speech.push(&piece.text);
                let events = self.items.take(parts);
                self.numbered(events)
            }
            Update::Ended(ended) => {
                self.answering.count(0, &ended);
                self.is_ended = true;
                let parts = self.speech.finish();
                let mut events = self.items.take(parts);
                events.extend(self.items.close(Some(ended.reason)));
                let name = match ended.reason {
                    Reason::Stop => "response.completed",
                    Reason::Length => "response.incomplete",
                };
                events.push(json!({"type": name, "response": self.object(Some(&ended))}));
                self.numbered(events)
            }
            Update::Prompt(_) | Update::Failed(_) => Vec::new(),
        }
    }

    fn end(&mut self) -> Option<Vec<Value>> {
        self.is_ended.then(Vec::new)
    }

    fn failed(&mut self, message: String) -> Vec<Value> {
        let mut response = self.object(None);
        response["status"] = "failed".into();
        response["error"] = json!({"code": "server_error", "message": message});
        self.numbered(vec![
            json!({"type": "response.failed", "response": response}),
        ])
    }
}

impl Format {
    /// Reads `text.format` of a response, whose schema stands beside its type.
    fn of_responses(text: &mut Fields) -> Result<Self, ApiError> {
        let Some(value) = text.take("format") else {
            return Ok(Self::Text);
        };
        let Some(object) = value.as_object() else {
            return Err(wrong("text.format", &value, "an object with a `type`"));
        };
        let mut beside = object.clone();
        let kind = beside.shift_remove("type").unwrap_or_default();
        let is_schema = kind == "json_schema";
        if !is_schema && let Some(key) = beside.keys().next() {
            let expected = format!("no key `{}`", super::error::shortened(key));
            return Err(wrong("text.format", &value, expected));
        }
        let holder = is_schema.then(|| Value::from(beside));
        Self::of_kind("text", &kind, holder)
    }
}
