//! What an answer of a chat says, in OpenAI's form: text, and calls of tools.

use serde_json::{Value, json};

use super::speech::{Part, Speech};
use super::worker::Reason;

/// What one sequence has said by now.
#[derive(Debug)]
pub(super) struct Said {
    speech: Speech,
    calls: usize,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// Text of a JSON object.
    pub(super) arguments: String,
}

impl Call {
    /// A call without arguments yet, with a new id.
    pub(super) fn new(name: String) -> Self {
        Self {
            id: format!("call_{:024x}", rand::random::<u128>() >> 32),
            name,
            arguments: String::new(),
        }
    }
}

/// Text and calls of a whole answer.
pub(super) fn whole(parts: Vec<Part>) -> (String, Vec<Call>) {
    let (mut said, mut calls) = (String::new(), Vec::<Call>::new());
    for part in parts {
        match part {
            Part::Text(text) => said.push_str(&text),
            Part::Call(name) => calls.push(Call::new(name)),
            Part::Arguments(text) => {
                if let Some(call) = calls.last_mut() {
                    call.arguments.push_str(&text);
                }
            }
        }
    }
    (said, calls)
}

impl Said {
    /// A sequence that has said nothing.
    pub(super) fn new(speech: Speech) -> Self {
        Self { speech, calls: 0 }
    }

    /// The message of a whole answer.
    pub(super) fn message(&mut self, text: &str) -> Value {
        let mut parts = self.speech.push(text);
        parts.extend(self.speech.finish());
        let (said, calls) = whole(parts);
        self.calls = calls.len();
        let content = (calls.is_empty() || !said.is_empty()).then_some(said);
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !calls.is_empty() {
            let calls = calls.into_iter().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            message["tool_calls"] = calls.collect();
        }
        message
    }

    /// Deltas of more text.
    pub(super) fn deltas(&mut self, text: &str) -> Vec<Value> {
        let parts = self.speech.push(text);
        self.of(parts)
    }

    /// Deltas of what was held back until the end.
    pub(super) fn last_deltas(&mut self) -> Vec<Value> {
        let parts = self.speech.finish();
        self.of(parts)
    }

    fn of(&mut self, parts: Vec<Part>) -> Vec<Value> {
        let deltas = parts.into_iter().map(|part| match part {
            Part::Text(text) => json!({"content": text}),
            Part::Call(name) => {
                let Call { id, name, .. } = Call::new(name);
                self.calls += 1;
                json!({"tool_calls": [{
                    "index": self.calls - 1, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""},
                }]})
            }
            Part::Arguments(text) => {
                json!({"tool_calls": [{
                    "index": self.calls.saturating_sub(1), "function": {"arguments": text},
                }]})
            }
        });
        deltas.collect()
    }

    /// Why the answer ends.
    pub(super) fn reason(&self, reason: Reason) -> &'static str {
        match reason {
            Reason::Stop if self.calls > 0 => "tool_calls",
            reason => reason.name(),
        }
    }
}
