//! The input of a response as messages of a chat.

use serde_json::{Map, Value, json};

use super::error::{ApiError, shortened};
use super::fields::{Fields, wrong};

/// Messages of `input` after the instructions: a text of the user, or items.
pub(super) fn messages(
    fields: &mut Fields,
    instructions: Option<String>,
) -> Result<Value, ApiError> {
    const EXPECTED: &str = "a string or a list of items";
    let mut messages: Vec<Value> = Vec::new();
    messages.extend(instructions.map(|it| json!({"role": "system", "content": it})));
    match fields.take("input") {
        None => {
            let message = format!("`input` is missing, expected {EXPECTED}");
            return Err(ApiError::field("input", message));
        }
        Some(Value::String(text)) => messages.push(json!({"role": "user", "content": text})),
        Some(Value::Array(items)) if !items.is_empty() => {
            for item in items {
                add(&mut messages, item)?;
            }
        }
        Some(other) => return Err(wrong("input", &other, EXPECTED)),
    }
    Ok(messages.into())
}

fn add(messages: &mut Vec<Value>, item: Value) -> Result<(), ApiError> {
    let refused = |expected: &str| wrong("input", &item, expected);
    let Some(object) = item.as_object() else {
        return Err(refused("items that are objects"));
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let needed = |name: &str| text(name).ok_or_else(|| refused(&format!("an item with `{name}`")));
    match text("type").unwrap_or("message") {
        "message" => add_message(messages, object),
        "function_call" => {
            let function = json!({"name": needed("name")?, "arguments": needed("arguments")?});
            let call = json!({"id": needed("call_id")?, "type": "function", "function": function});
            // calls of one turn are one message
            match messages.last_mut().filter(|it| it["role"] == "assistant") {
                Some(message) => match &mut message["tool_calls"] {
                    Value::Array(calls) => calls.push(call),
                    none => *none = json!([call]),
                },
                None => messages.push(json!({
                    "role": "assistant", "content": null, "tool_calls": [call],
                })),
            }
            Ok(())
        }
        "function_call_output" => {
            let output = object.get("output").unwrap_or(&Value::Null);
            messages.push(json!({
                "role": "tool", "tool_call_id": needed("call_id")?, "content": plain(output)?,
            }));
            Ok(())
        }
        // thoughts of earlier turns, which templates leave out
        "reasoning" => Ok(()),
        other => {
            let message = format!(
                "`input` has an item of the type `{}`, expected message, function_call or function_call_output",
                shortened(other)
            );
            Err(ApiError::field("input", message))
        }
    }
}

fn add_message(messages: &mut Vec<Value>, object: &Map<String, Value>) -> Result<(), ApiError> {
    let role = match object.get("role").and_then(Value::as_str) {
        Some("developer") => "system",
        Some(role @ ("system" | "user" | "assistant")) => role,
        _ => {
            let item = Value::from(object.clone());
            let expected = "a `role` of user, assistant, system or developer";
            return Err(wrong("input", &item, expected));
        }
    };
    let content = plain(object.get("content").unwrap_or(&Value::Null))?;
    // templates take one message of the system, at the begin
    if role == "system"
        && let [system] = &mut messages[..]
        && system["role"] == "system"
    {
        let before = system["content"].as_str().unwrap_or_default();
        system["content"] = format!("{before}\n\n{content}").into();
        return Ok(());
    }
    messages.push(json!({"role": role, "content": content}));
    Ok(())
}

/// Text of a content: a string, or parts of text.
fn plain(content: &Value) -> Result<String, ApiError> {
    let part = |part: &Value| {
        let kind = part.get("type")?.as_str()?;
        let is_text = ["input_text", "output_text", "text"].contains(&kind);
        let text = part.get("text")?.as_str()?;
        is_text.then(|| text.to_owned())
    };
    let text = match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => None,
    };
    text.ok_or_else(|| {
        let expected = "a text, or parts {\"type\": \"input_text\", \"text\": \"...\"}, as content";
        wrong("input", content, expected)
    })
}
