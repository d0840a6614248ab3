//! Items of a response: messages and calls of tools, each with the events by which a stream tells it.

use serde_json::{Value, json};

use super::said::Call;
use super::speech::Part;
use super::worker::Reason;

/// Items by now.
#[derive(Debug, Default)]
pub(super) struct Items {
    done: Vec<Value>,
    open: Option<Item>,
}

/// An item that may grow.
#[derive(Debug)]
enum Item {
    Message { id: String, text: String },
    Call { id: String, call: Call },
}

impl Items {
    /// The items that are complete.
    pub(super) fn done(&self) -> &[Value] {
        &self.done
    }

    /// Adds parts of the answer, and returns their events.
    pub(super) fn take(&mut self, parts: Vec<Part>) -> Vec<Value> {
        let mut events = Vec::new();
        for part in parts {
            match part {
                Part::Text(more) => {
                    if !matches!(self.open, Some(Item::Message { .. })) {
                        events.extend(self.open(Item::Message {
                            id: new_id("msg"),
                            text: String::new(),
                        }));
                    }
                    if let Some(Item::Message { text, .. }) = &mut self.open {
                        text.push_str(&more);
                    }
                    events.push(self.event(
                        "response.output_text.delta",
                        json!({"content_index": 0, "delta": more, "logprobs": []}),
                    ));
                }
                Part::Call(name) => events.extend(self.open(Item::Call {
                    id: new_id("fc"),
                    call: Call::new(name),
                })),
                Part::Arguments(more) => {
                    if let Some(Item::Call { call, .. }) = &mut self.open {
                        call.arguments.push_str(&more);
                    }
                    let name = "response.function_call_arguments.delta";
                    events.push(self.event(name, json!({"delta": more})));
                }
            }
        }
        events
    }

    /// Completes the last item. An answer without words is an empty message.
    pub(super) fn close(&mut self, reason: Option<Reason>) -> Vec<Value> {
        let mut events = Vec::new();
        if self.open.is_none() && self.done.is_empty() {
            events.extend(self.open(Item::Message {
                id: new_id("msg"),
                text: String::new(),
            }));
        }
        let status = match reason {
            Some(Reason::Length) => "incomplete",
            _ => "completed",
        };
        events.extend(self.complete(status));
        events
    }

    fn open(&mut self, item: Item) -> Vec<Value> {
        let mut events = self.complete("completed");
        let added = item.object("in_progress");
        let is_message = matches!(item, Item::Message { .. });
        self.open = Some(item);
        let mut begin = added;
        if is_message {
            begin["content"] = json!([]);
        }
        events.push(self.item_event("response.output_item.added", begin));
        if is_message {
            let part = output_text("");
            let name = "response.content_part.added";
            events.push(self.event(name, json!({"content_index": 0, "part": part})));
        }
        events
    }

    fn complete(&mut self, status: &str) -> Vec<Value> {
        let Some(item) = &self.open else {
            return Vec::new();
        };
        let object = item.object(status);
        let mut events = match item {
            Item::Message { text, .. } => vec![
                self.event(
                    "response.output_text.done",
                    json!({"content_index": 0, "text": text, "logprobs": []}),
                ),
                self.event(
                    "response.content_part.done",
                    json!({"content_index": 0, "part": output_text(text)}),
                ),
            ],
            Item::Call { call, .. } => vec![self.event(
                "response.function_call_arguments.done",
                json!({"name": call.name, "arguments": call.arguments}),
            )],
        };
        events.push(self.item_event("response.output_item.done", object.clone()));
        self.done.push(object);
        self.open = None;
        events
    }

    /// An event of the open item.
    fn event(&self, name: &str, rest: Value) -> Value {
        let mut event = json!({"type": name, "output_index": self.done.len()});
        if let Some(Item::Message { id, .. } | Item::Call { id, .. }) = &self.open {
            event["item_id"] = id.as_str().into();
        }
        if let (Value::Object(all), Value::Object(rest)) = (&mut event, rest) {
            all.extend(rest);
        }
        event
    }

    fn item_event(&self, name: &str, item: Value) -> Value {
        json!({"type": name, "output_index": self.done.len(), "item": item})
    }
}

impl Item {
    fn object(&self, status: &str) -> Value {
        match self {
            Self::Message { id, text } => json!({
                "type": "message", "id": id, "status": status, "role": "assistant",
                "content": [output_text(text)],
            }),
            Self::Call { id, call } => json!({
                "type": "function_call", "id": id, "call_id": call.id, "name": call.name,
                "arguments": call.arguments, "status": status,
            }),
        }
    }
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// A new id of an item.
fn new_id(prefix: &str) -> String {
    format!("{prefix}_{:032x}", rand::random::<u128>())
}
