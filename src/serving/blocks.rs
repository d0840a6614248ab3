//! Blocks of a message in Anthropic's form: text, and uses of tools, each with the events by which a stream tells it.

use serde_json::{Value, json};

use super::said::Call;
use super::speech::Part;

/// Blocks by now.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    done: Vec<Block>,
    open: Option<Block>,
}

#[derive(Debug)]
enum Block {
    Text(String),
    Use(Call),
}

impl Blocks {
    /// Adds parts of the answer, and returns their events.
    pub(super) fn take(&mut self, parts: Vec<Part>) -> Vec<Value> {
        let mut events = Vec::new();
        for part in parts {
            let delta = match part {
                Part::Text(more) => {
                    if !matches!(self.open, Some(Block::Text(_))) {
                        events.extend(self.open(Block::Text(String::new())));
                    }
                    if let Some(Block::Text(text)) = &mut self.open {
                        text.push_str(&more);
                    }
                    json!({"type": "text_delta", "text": more})
                }
                Part::Call(name) => {
                    let mut call = Call::new(name);
                    call.id = call.id.replace("call_", "toolu_");
                    events.extend(self.open(Block::Use(call)));
                    continue;
                }
                Part::Arguments(more) => {
                    if let Some(Block::Use(call)) = &mut self.open {
                        call.arguments.push_str(&more);
                    }
                    json!({"type": "input_json_delta", "partial_json": more})
                }
            };
            events.push(json!({
                "type": "content_block_delta", "index": self.done.len(), "delta": delta,
            }));
        }
        events
    }

    /// Completes the last block.
    pub(super) fn close(&mut self) -> Vec<Value> {
        let Some(block) = self.open.take() else {
            return Vec::new();
        };
        let event = json!({"type": "content_block_stop", "index": self.done.len()});
        self.done.push(block);
        vec![event]
    }

    fn open(&mut self, block: Block) -> Vec<Value> {
        let mut events = self.close();
        let mut begin = block.object();
        if let Block::Use(_) = block {
            begin["input"] = json!({});
        }
        events.push(json!({
            "type": "content_block_start", "index": self.done.len(), "content_block": begin,
        }));
        self.open = Some(block);
        events
    }

    /// All complete blocks.
    pub(super) fn content(&self) -> Value {
        self.done.iter().map(Block::object).collect()
    }

    /// Whether a tool is used.
    pub(super) fn has_calls(&self) -> bool {
        self.done.iter().any(|it| matches!(it, Block::Use(_)))
    }
}

impl Block {
    fn object(&self) -> Value {
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Use(call) => {
                let input = serde_json::from_str(&call.arguments);
                let input = input.ok().filter(Value::is_object);
                // as Anthropic's documentation hands back what is no JSON
                let input = input.unwrap_or_else(|| json!({"INVALID_JSON": call.arguments}));
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
            }
        }
    }
}
