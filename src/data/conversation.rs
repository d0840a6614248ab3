//! Conversations in the formats of data sets.
//!
//! [`Conversation`] reads OpenAI's form, `{"role": "user", "content": "..."}`; this module converts ShareGPT's,
//! `{"from": "human", "value": "..."}`, into it.

use serde_json::{Map, Value, json};

use crate::tokenizer::chat::{Conversation, ConversationError};

/// ShareGPT's speakers, and the roles that they map to.
const SPEAKERS: [(&str, &str); 8] = [
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    (CALL, "assistant"),
    ("system", "system"),
    ("tool", "tool"),
    ("observation", "tool"),
];

/// ShareGPT's speaker of an assistant's turn that is a tool call in JSON.
const CALL: &str = "function_call";

/// A conversation in an unexpected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TurnsError {
    /// A message cannot be understood.
    #[error(transparent)]
    Message(#[from] ConversationError),
    /// A string that should hold JSON does not.
    #[error("`{key}` is a text that is no JSON, expected {expected}")]
    NoJson {
        key: &'static str,
        expected: &'static str,
    },
    /// Columns of a conversation have different lengths.
    #[error(
        "the lists of a conversation's keys differ in length, expected one value of each for every message"
    )]
    Uneven,
    /// An unknown speaker.
    #[error(
        "message {message}: `from` is {found}, expected human, user, gpt, assistant, system, tool, function_call or observation"
    )]
    Speaker { message: usize, found: String },
    /// A turn in ShareGPT's form without a text.
    #[error(
        "message {message} has `from` and no text `value`, expected {{\"from\": \"human\", \"value\": \"...\"}}"
    )]
    NoValue { message: usize },
    /// A `system` key beside a conversation that has its own system message.
    #[error(
        "`system` stands beside a conversation that begins with other words of the system: keep one of the two"
    )]
    TwoSystems,
    /// A tool call that names no function.
    #[error(
        "message {message}: the call in `value` is not understood, expected {{\"name\": \"...\", \"arguments\": {{...}}}}"
    )]
    Call { message: usize },
}

/// Keys beside the list of turns.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// System message, which ShareGPT's form keeps outside of the turns.
    pub(super) system: Option<String>,
    /// Tools that may be called.
    pub(super) tools: Option<Value>,
}

/// Reads a conversation in either form.
pub(super) fn read(turns: Value, beside: Beside) -> Result<Conversation, TurnsError> {
    let mut turns = match decoded("messages", turns, "a list of messages")? {
        Value::Object(columns) => Value::Array(zipped(columns)?),
        turns => turns,
    };
    if let Value::Array(list) = &mut turns {
        for (message, turn) in (1..).zip(list.iter_mut()) {
            if let Value::Object(object) = turn
                && object.contains_key("from")
                && !object.contains_key("role")
            {
                renamed(message, object)?;
            }
        }
        let system = beside.system.filter(|text| !text.trim().is_empty());
        if let (Some(system), Some(first)) = (system, list.first()) {
            let is_said = first["content"].as_str().map(str::trim) == Some(system.trim());
            if first["role"] != "system" {
                list.insert(0, json!({"role": "system", "content": system}));
            } else if !is_said {
                return Err(TurnsError::TwoSystems);
            }
        }
    }
    let tools = beside.tools.filter(|tools| *tools != "");
    let tools = tools.map(|tools| decoded("tools", tools, "a list of tools"));
    Ok(Conversation::parse(&turns, tools.transpose()?.as_ref())?)
}

/// Decodes a value that is JSON within a string, as in some data sets.
fn decoded(key: &'static str, value: Value, expected: &'static str) -> Result<Value, TurnsError> {
    match value {
        Value::String(json) => {
            serde_json::from_str(&json).map_err(|_| TurnsError::NoJson { key, expected })
        }
        value => Ok(value),
    }
}

/// Converts an object of lists, as Hugging Face's `datasets` stores a sequence of objects, into a list of objects.
fn zipped(columns: Map<String, Value>) -> Result<Vec<Value>, TurnsError> {
    let mut turns: Vec<Map<String, Value>> = Vec::new();
    for (number, (key, column)) in columns.into_iter().enumerate() {
        let Value::Array(column) = column else {
            return Err(TurnsError::Uneven);
        };
        if number == 0 {
            turns.resize_with(column.len(), Map::new);
        }
        if turns.len() != column.len() {
            return Err(TurnsError::Uneven);
        }
        for (turn, value) in turns.iter_mut().zip(column) {
            turn.insert(key.clone(), value);
        }
    }
    Ok(turns.into_iter().map(Value::Object).collect())
}

/// Renames ShareGPT's keys of a turn to OpenAI's; other keys stay, to be read or refused by name.
fn renamed(message: usize, object: &mut Map<String, Value>) -> Result<(), TurnsError> {
    let from = object.remove("from").unwrap_or_default();
    let speaker = SPEAKERS.iter().find(|(name, _)| from == *name);
    let Some((speaker, role)) = speaker else {
        let found = from.to_string().chars().take(40).collect::<String>();
        return Err(TurnsError::Speaker {
            message,
            found: format!("`{found}`"),
        });
    };
    let Some(Value::String(said)) = object.remove("value") else {
        return Err(TurnsError::NoValue { message });
    };
    object.insert("role".into(), (*role).into());
    if *speaker == CALL {
        let call: Value = serde_json::from_str(&said).unwrap_or_default();
        if !call["name"].is_string() {
            return Err(TurnsError::Call { message });
        }
        object.insert("content".into(), Value::Null);
        let call = json!([{"type": "function", "function": call}]);
        object.insert("tool_calls".into(), call);
    } else {
        object.insert("content".into(), said.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::chat::{Message, Role};

    fn plain(turns: Value) -> Result<Conversation, String> {
        read(turns, Beside::default()).map_err(|error| error.to_string())
    }

    fn pair() -> Vec<Message> {
        vec![
            Message::new(Role::User, "hi"),
            Message::new(Role::Assistant, " ho"),
        ]
    }

    #[test]
    fn all_forms_of_a_conversation_say_the_same() {
        for turns in [
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": " ho"}]),
            json!([{"from": "human", "value": "hi"}, {"from": "gpt", "value": " ho"}]),
            json!([{"from": "user", "value": "hi", "text": null}, {"role": "assistant", "content": " ho"}]),
            json!({"role": ["user", "assistant"], "content": ["hi", " ho"]}),
            json!(r#"[{"from":"human","value":"hi"},{"from":"assistant","value":" ho"}]"#),
        ] {
            assert_eq!(plain(turns.clone()).unwrap().messages, pair(), "{turns}");
        }
    }

    #[test]
    fn instructions_and_tools_beside_the_turns_are_part_of_the_conversation() {
        let turns = json!([{"from": "human", "value": "hi"}, {"from": "gpt", "value": " ho"}]);
        let beside = || Beside {
            system: Some("be brief".into()),
            tools: Some(json!(r#"[{"name": "f"}]"#)),
        };
        let read_all = read(turns, beside()).unwrap();
        assert_eq!(read_all.messages[0], Message::new(Role::System, "be brief"));
        assert_eq!(read_all.messages[1..], pair());
        assert_eq!(read_all.tools, [json!({"name": "f"})]);
        let own = json!([{"from": "system", "value": "be long"}, {"from": "human", "value": "hi"}]);
        assert_eq!(read(own, beside()), Err(TurnsError::TwoSystems));
        let same =
            json!([{"from": "system", "value": "be brief\n"}, {"from": "human", "value": "hi"}]);
        let read_same = read(same, beside()).unwrap();
        assert_eq!(read_same.messages[0].content(), "be brief\n");
        assert_eq!(read_same.messages.len(), 2);
    }

    #[test]
    fn calls_of_tools_and_what_they_answer_keep_their_meaning() {
        let call = r#"{"name": "weather", "arguments": {"city": "Berlin"}}"#;
        let turns = json!([
            {"from": "human", "value": "rain?"},
            {"from": "function_call", "value": call},
            {"from": "observation", "value": "dry"},
            {"from": "gpt", "value": "no"},
        ]);
        let messages = plain(turns).unwrap().messages;
        let called = &messages[1].object()["tool_calls"][0]["function"];
        assert_eq!(called["arguments"]["city"], "Berlin");
        assert_eq!(messages[2], Message::new(Role::Tool, "dry"));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (turns, part) in [
            (
                json!([{"from": "narrator", "value": "x"}]),
                "message 1: `from` is `\"narrator\"`, expected human",
            ),
            (json!([{"from": null, "value": "x"}]), "`from` is `null`"),
            (
                json!([{"from": "gpt"}]),
                "message 1 has `from` and no text `value`",
            ),
            (json!([{"from": "gpt", "value": 5}]), "no text `value`"),
            (
                json!([{"from": "gpt", "value": "x", "mood": "bad"}]),
                "unknown key `mood`",
            ),
            (
                json!([{"from": "function_call", "value": "f()"}]),
                "the call in `value`",
            ),
            (json!("hello"), "is a text that is no JSON"),
            (json!({"role": ["user"], "content": []}), "differ in length"),
            (json!({"role": "user", "content": "x"}), "differ in length"),
            (json!([]), "is empty"),
            (json!(5), "expected a list"),
        ] {
            let error = plain(turns).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
