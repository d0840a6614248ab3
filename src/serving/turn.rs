//! The assistant's next turn in a conversation, whatever interface asks for it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Answering;
use super::call_form::CallForm;
use super::error::ApiError;
use super::format::Format;
use super::grammar::{Grammar, Spaces, with_options};
use super::options::Options;
use super::speech::Speech;
use super::state::{Ready, State};
use super::submission::{Begins, Submission, Updates, beside};
use super::tools::Tools;
use crate::domain::Domain;
use crate::inference::Scoring;
use crate::tokenizer::chat::{Conversation, TemplateError};

/// What to answer, and how.
#[derive(Debug)]
pub(super) struct Ask {
    /// Messages in the form of chats.
    pub(super) messages: Value,
    pub(super) tools: Tools,
    pub(super) format: Format,
    /// Largest number of tokens to generate; absent: up to the end of the context.
    pub(super) max_tokens: Option<usize>,
    pub(super) scoring: Option<Scoring>,
}

/// An answer that was begun.
pub(super) struct Begun {
    pub(super) answering: Answering,
    pub(super) updates: Updates,
    /// What takes each sequence apart.
    pub(super) speeches: Vec<Speech>,
}

/// A request as ids.
struct Read {
    prompt: Vec<u32>,
    speech: Speech,
    grammar: Option<Grammar>,
}

impl Ask {
    /// Reads the conversation and hands its sequences to the engine. The answer's id begins with `prefix`.
    pub(super) async fn begin(
        self,
        prefix: &str,
        options: Options,
        state: Arc<State>,
        ready: Arc<Ready>,
    ) -> Result<Begun, ApiError> {
        let (max_tokens, scoring, domain) = (self.max_tokens, self.scoring, options.domain);
        let read = beside(&ready, move |ready| self.read(domain, ready)).await?;
        let prompts = vec![read.prompt];
        let submission = Submission {
            prompts: prompts.clone(),
            max_tokens,
            stop_ids: ready.turn_stop_ids.clone(),
            stop_text: ready.template.stop_text(),
            scoring,
            begins: Begins::Anew,
            grammar: read.grammar,
        };
        let updates = submission.submit(&options, &state, &ready)?;
        let answering = Answering::new(prefix, state, ready, prompts, options);
        Ok(Begun {
            speeches: vec![read.speech; answering.sequences()],
            answering,
            updates,
        })
    }

    /// Ids of the conversation.
    pub(super) fn prompt(mut self, ready: &Ready) -> Result<Vec<u32>, ApiError> {
        self.ids(None, ready)
    }

    fn ids(&mut self, domain: Option<Domain>, ready: &Ready) -> Result<Vec<u32>, ApiError> {
        prepare(&mut self.messages)?;
        let conversation = self.conversation()?;
        match ready
            .template
            .prompt(&ready.tokenizer, &conversation, domain)
        {
            // few templates write the name of a tool beside its result
            Err(TemplateError::Unwritten { key, .. }) if key == "name" => {
                without_names_of_tools(&mut self.messages);
                ready.chat_ids(&self.conversation()?, domain)
            }
            Err(error @ TemplateError::UnwrittenTools) => {
                Err(ApiError::field("tools", error.to_string()))
            }
            Err(error) => Err(ApiError::field("messages", error.to_string())),
            Ok(prompt) => Ok(prompt),
        }
    }

    fn read(mut self, domain: Option<Domain>, ready: &Ready) -> Result<Read, ApiError> {
        let prompt = self.ids(domain, ready)?;
        if !self.tools.are_offered() {
            let grammar = self.format.schema();
            let grammar = grammar.map(|(schema, param)| ready.grammars()?.of_schema(schema, param));
            return Ok(Read {
                prompt,
                speech: Speech::plain(),
                grammar: grammar.transpose()?,
            });
        }
        let form = CallForm::of(&ready.template, &ready.tokenizer);
        let form = form.ok_or_else(|| {
            let message = "the model's chat template writes calls of tools in a form that is not read here: leave `tools` out";
            ApiError::field("tools", message)
        })?;
        Ok(Read {
            prompt,
            speech: Speech::with_tools(form, &self.tools),
            grammar: self.grammar_of_calls(form, ready)?,
        })
    }

    fn conversation(&self) -> Result<Conversation, ApiError> {
        let tools = Value::from(self.tools.definitions());
        let parsed = Conversation::parse(&self.messages, Some(&tools));
        parsed.map_err(|error| ApiError::field("messages", error.to_string()))
    }

    /// The grammar of an answer that must call tools, or call them or be a value of the format. `None` if it may be
    /// any text.
    fn grammar_of_calls(&self, form: CallForm, ready: &Ready) -> Result<Option<Grammar>, ApiError> {
        let format = self.format.schema().filter(|_| !self.tools.are_required());
        if format.is_none() && !self.tools.are_required() {
            return Ok(None);
        }
        let format = format.map(|(schema, param)| with_options(schema, Spaces::Lines, param));
        let callable = self.tools.callable();
        let schemas = callable
            .iter()
            .map(|tool| with_options(&tool.parameters, Spaces::One, "tools"));
        let schemas = schemas.collect::<Result<Vec<_>, _>>()?;
        let lark = form.lark(&self.tools, &schemas, format.transpose()?.as_ref());
        ready.grammars()?.of_lark(lark, "tools").map(Some)
    }
}

/// Brings messages of clients into the form that templates expect. The role `developer` is a newer name of `system`.
pub(super) fn prepare(messages: &mut Value) -> Result<(), ApiError> {
    for message in messages.as_array_mut().into_iter().flatten() {
        let Some(message) = message.as_object_mut() else {
            continue;
        };
        if message.get("role").is_some_and(|role| role == "developer") {
            message.insert("role".into(), "system".into());
        }
        // clients send back what an answer had
        for empty in ["refusal", "annotations", "audio", "function_call"] {
            let value = message.get(empty);
            if value.is_some_and(|it| it.is_null() || *it == json!([])) {
                message.shift_remove(empty);
            }
        }
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        calls.into_iter().flatten().try_for_each(read_arguments)?;
    }
    Ok(())
}

/// Replaces the text of a call's arguments by the object that it is: templates write it as JSON.
fn read_arguments(call: &mut Value) -> Result<(), ApiError> {
    let wrong = |found: &Value| {
        let found = super::error::shortened(&found.to_string());
        let message = format!(
            "`tool_calls` has {found}, expected a function with a `name` and `arguments` that are the text of a JSON object"
        );
        ApiError::field("messages", message)
    };
    let function = call.get("function").filter(|it| it["name"].is_string());
    let arguments = function.and_then(|function| match &function["arguments"] {
        object @ Value::Object(_) => Some(object.clone()),
        Value::String(text) if text.trim().is_empty() => Some(json!({})),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    });
    let arguments = arguments.filter(Value::is_object);
    call["function"]["arguments"] = arguments.ok_or_else(|| wrong(call))?;
    Ok(())
}

fn without_names_of_tools(messages: &mut Value) {
    for message in messages.as_array_mut().into_iter().flatten() {
        if message["role"] == "tool"
            && let Some(message) = message.as_object_mut()
        {
            message.shift_remove("name");
        }
    }
}
