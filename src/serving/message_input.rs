//! Messages in Anthropic's form as messages of a chat.

use serde_json::{Value, json};

use super::error::{ApiError, shortened};
use super::fields::{Fields, wrong};

/// Reads `system` and `messages`.
pub(super) fn messages(fields: &mut Fields) -> Result<Value, ApiError> {
    const EXPECTED: &str = "a list of messages with a `role` and a `content`";
    let mut all: Vec<Value> = Vec::new();
    if let Some(system) = fields.take("system") {
        all.push(json!({"role": "system", "content": plain("system", &system)?}));
    }
    let missing = || {
        ApiError::field(
            "messages",
            format!("`messages` is missing, expected {EXPECTED}"),
        )
    };
    let given = fields.take("messages").ok_or_else(missing)?;
    let list = given.as_array().filter(|it| !it.is_empty());
    let list = list.ok_or_else(|| wrong("messages", &given, EXPECTED))?;
    for message in list {
        let content = message.get("content").unwrap_or(&Value::Null);
        match message.get("role").and_then(Value::as_str) {
            Some("user") => all.extend(of_user(content)?),
            Some("assistant") => all.push(of_assistant(content)?),
            _ => return Err(wrong("messages", message, "a `role` of user or assistant")),
        }
    }
    if all.last().is_some_and(|it| it["role"] == "assistant") {
        return Err(ApiError::field(
            "messages",
            "`messages` ends with one of the assistant, which is not continued here: end with one of the user",
        ));
    }
    Ok(all.into())
}

/// A message of the user: results of tools, and text.
fn of_user(content: &Value) -> Result<Vec<Value>, ApiError> {
    let mut messages: Vec<Value> = Vec::new();
    for block in blocks(content)? {
        match kind(&block) {
            "tool_result" => {
                let id = text_of(&block, "tool_use_id")?;
                let result = match block.get("content") {
                    None | Some(Value::Null) => String::new(),
                    Some(content) => plain("messages", content)?,
                };
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            }
            "text" => {
                let more = text_of(&block, "text")?;
                match messages.last_mut().filter(|it| it["role"] == "user") {
                    Some(message) => {
                        let before = message["content"].as_str().unwrap_or_default();
                        message["content"] = format!("{before}{more}").into();
                    }
                    None => messages.push(json!({"role": "user", "content": more})),
                }
            }
            _ => return Err(unknown(&block, "text or tool_result")),
        }
    }
    if messages.is_empty() {
        messages.push(json!({"role": "user", "content": ""}));
    }
    Ok(messages)
}

/// A message of the assistant: text, and uses of tools. Thoughts are left out, as templates do.
fn of_assistant(content: &Value) -> Result<Value, ApiError> {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for block in blocks(content)? {
        match kind(&block) {
            "text" => text += text_of(&block, "text")?,
            "tool_use" => {
                let function =
                    json!({"name": text_of(&block, "name")?, "arguments": block["input"]});
                calls.push(json!({
                    "id": text_of(&block, "id")?, "type": "function", "function": function,
                }));
            }
            "thinking" | "redacted_thinking" => {}
            _ => return Err(unknown(&block, "text, tool_use or thinking")),
        }
    }
    let mut message = json!({"role": "assistant", "content": text});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

/// Blocks of a content, which may also be a text.
fn blocks(content: &Value) -> Result<Vec<Value>, ApiError> {
    match content {
        Value::String(text) => Ok(vec![json!({"type": "text", "text": text})]),
        Value::Array(blocks) => Ok(blocks.clone()),
        other => Err(wrong(
            "messages",
            other,
            "a `content` that is a text or a list of blocks",
        )),
    }
}

/// Text of a content without other blocks.
fn plain(field: &str, content: &Value) -> Result<String, ApiError> {
    let text = |block: &Value| {
        (kind(block) == "text").then(|| block["text"].as_str().map(str::to_owned))?
    };
    let joined = match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) => blocks.iter().map(text).collect(),
        _ => None,
    };
    joined.ok_or_else(|| wrong(field, content, "a text or blocks of text"))
}

fn kind(block: &Value) -> &str {
    block
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn text_of<'a>(block: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    let text = block.get(name).and_then(Value::as_str);
    text.ok_or_else(|| wrong("messages", block, format!("a block with `{name}`")))
}

fn unknown(block: &Value, expected: &str) -> ApiError {
    ApiError::field(
        "messages",
        format!(
            "`messages` has a block of the type `{}`, expected {expected}",
            shortened(kind(block))
        ),
    )
}
