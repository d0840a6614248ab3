//! Messages of a conversation in the form of chat APIs; every key is kept or refused by name.

use serde_json::{Map, Value};

/// Role of a message's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The human.
    User,
    /// The model.
    Assistant,
    /// A tool that the model has called.
    Tool,
}

impl Role {
    /// All roles, in the order used in messages to the user.
    pub const ALL: [Self; 4] = [Self::System, Self::User, Self::Assistant, Self::Tool];

    /// The role's name in chat APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    role: Role,
    learned: bool,
    /// The object that a template sees: as in transformers no key is null, and `content` is a string.
    object: Map<String, Value>,
}

/// Known keys of a message. A template need not write those of the second list, which only link calls to their
/// results.
const TEXT_KEYS: [&str; 6] = [
    "content",
    "name",
    "reasoning",
    "reasoning_content",
    "thinking",
    "tool_calls",
];
const LINK_KEYS: [&str; 1] = ["tool_call_id"];

impl Message {
    /// A message of `role` with this content.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let object = [("role", role.name().into()), ("content", content.into())];
        let object = object.map(|(key, text): (&str, String)| (key.to_owned(), text.into()));
        Self {
            role,
            learned: role == Role::Assistant,
            object: object.into_iter().collect(),
        }
    }

    /// Role of the author.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Content of the message; empty if it only calls tools.
    pub fn content(&self) -> &str {
        let content = self.object.get("content");
        content.and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether fine-tuning learns the message: true for the assistant's, unless the data says `"weight": 0` or
    /// `"train": false`.
    pub fn is_learned(&self) -> bool {
        self.learned
    }

    /// The object that a template sees.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// Keys besides `role` and `content` that carry text. A template must write them, else it drops content.
    pub(super) fn spoken_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.object.keys().map(String::as_str);
        keys.filter(|key| *key != "content" && TEXT_KEYS.contains(key))
    }

    /// Reads message number `message` of a conversation.
    fn parse(message: usize, value: &Value) -> Result<Self, ConversationError> {
        let wrong = |key: &str, found: &Value, expected: &'static str| ConversationError::Key {
            message,
            key: key.to_owned(),
            found: shortened(found),
            expected,
        };
        let Value::Object(given) = value else {
            return Err(ConversationError::NoObject {
                message,
                found: shortened(value),
            });
        };
        let role = given.get("role").unwrap_or(&Value::Null);
        let name = role.as_str().and_then(Role::of);
        let role = name.ok_or_else(|| wrong("role", role, "system, user, assistant or tool"))?;
        let (mut object, mut learned) = (Map::new(), role == Role::Assistant);
        for (key, value) in given {
            match key.as_str() {
                "role" => {}
                "weight" | "train" => match switch(value) {
                    None if value.is_null() => continue,
                    None => return Err(wrong(key, value, "0 or 1")),
                    Some(true) if role != Role::Assistant => {
                        return Err(wrong(
                            key,
                            value,
                            "0: only the assistant's turns are learned",
                        ));
                    }
                    Some(is_on) => {
                        learned &= is_on;
                        continue;
                    }
                },
                "content" => {
                    let text = text(value)
                        .map_err(|(found, expected)| wrong("content", found, expected))?;
                    if !text.is_null() {
                        object.insert(key.clone(), text);
                    }
                    continue;
                }
                // tables have null in every row without the key
                _ if value.is_null() => continue,
                "tool_calls" if !value.is_array() => {
                    return Err(wrong(key, value, "a list of calls"));
                }
                "tool_calls" if value.as_array().is_some_and(Vec::is_empty) => continue,
                "tool_calls" if role != Role::Assistant => {
                    return Err(wrong(key, value, "none: only the assistant calls tools"));
                }
                "tool_calls" => {}
                _ if TEXT_KEYS.contains(&key.as_str()) || LINK_KEYS.contains(&key.as_str()) => {
                    if !value.is_string() {
                        return Err(wrong(key, value, "a text"));
                    }
                }
                _ => {
                    return Err(ConversationError::UnknownKey {
                        message,
                        key: key.clone(),
                    });
                }
            }
            object.insert(key.clone(), value.clone());
        }
        let calls = object.contains_key("tool_calls");
        if !calls && !object.get("content").is_some_and(Value::is_string) {
            let found = given.get("content").unwrap_or(&Value::Null);
            return Err(wrong(
                "content",
                found,
                "a text (null only beside `tool_calls`)",
            ));
        }
        Ok(Self {
            role,
            learned,
            object,
        })
    }
}

/// A list of messages, and the tools that may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The messages in order; never empty in a parsed conversation.
    pub messages: Vec<Message>,
    /// Schemas of the tools, in the form of chat APIs.
    pub tools: Vec<Value>,
}

impl Conversation {
    /// Reads the values of a record's keys `messages` and `tools`.
    ///
    /// # Errors
    ///
    /// [`ConversationError`] with the number of the message, from 1, and its key.
    pub fn parse(messages: &Value, tools: Option<&Value>) -> Result<Self, ConversationError> {
        let list = messages
            .as_array()
            .ok_or_else(|| ConversationError::NoList {
                key: "messages",
                found: shortened(messages),
            })?;
        if list.is_empty() {
            return Err(ConversationError::Empty);
        }
        let numbered = (1..).zip(list);
        let parsed = numbered.map(|(number, value)| Message::parse(number, value));
        let tools = match tools {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tools)) => tools.clone(),
            Some(other) => {
                return Err(ConversationError::NoList {
                    key: "tools",
                    found: shortened(other),
                });
            }
        };
        Ok(Self {
            messages: parsed.collect::<Result<_, _>>()?,
            tools,
        })
    }

    /// The content of all messages, joined by line ends; for counting and comparing, not for a model.
    pub fn text(&self) -> String {
        let mut said = Vec::new();
        for message in &self.messages {
            let content = std::iter::once(message.content().to_owned());
            let others = message.spoken_keys().map(|key| match &message.object[key] {
                Value::String(text) => text.clone(),
                calls => calls.to_string(),
            });
            said.extend(content.chain(others).filter(|text| !text.is_empty()));
        }
        said.join("\n")
    }
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self {
            messages,
            tools: Vec::new(),
        }
    }
}

/// A conversation in an unexpected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum ConversationError {
    /// A value that should be a list is not.
    #[error("`{key}` is {found}, expected a list")]
    NoList { key: &'static str, found: String },
    /// There are no messages.
    #[error("`messages` is empty, expected at least one turn")]
    Empty,
    /// A message that is not an object.
    #[error("message {message} is {found}, expected {{\"role\": \"...\", \"content\": \"...\"}}")]
    NoObject { message: usize, found: String },
    /// A value that is not understood.
    #[error("message {message}: `{key}` is {found}, expected {expected}")]
    Key {
        message: usize,
        key: String,
        found: String,
        expected: &'static str,
    },
    /// An unknown key, which would lose its content if it were ignored.
    #[error(
        "message {message}: unknown key `{key}`, expected role, content, name, reasoning_content, tool_calls, tool_call_id, weight or train: remove it or rename it"
    )]
    UnknownKey { message: usize, key: String },
}

/// A boolean as tables write it: also as 0 or 1.
fn switch(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| match value.as_f64()? {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    })
}

/// Normalizes a content: a string, null, or text parts, which are joined. The error has the wrong value and the
/// expected form.
fn text(content: &Value) -> Result<Value, (&Value, &'static str)> {
    const EXPECTED: &str = "a text, or parts {\"type\": \"text\", \"text\": \"...\"}";
    let Value::Array(parts) = content else {
        return match content {
            Value::String(_) | Value::Null => Ok(content.clone()),
            other => Err((other, EXPECTED)),
        };
    };
    let mut joined = String::new();
    for part in parts {
        let given = part.as_object().ok_or((part, EXPECTED))?;
        let is_known = |(key, value): (&String, &Value)| match key.as_str() {
            "type" => *value == "text",
            "text" => value.is_string(),
            _ => value.is_null(),
        };
        match given.get("text").and_then(Value::as_str) {
            Some(text) if given.contains_key("type") && given.iter().all(is_known) => {
                joined.push_str(text);
            }
            _ => return Err((part, EXPECTED)),
        }
    }
    Ok(joined.into())
}

/// A value shortened for a message of one line.
fn shortened(value: &Value) -> String {
    const MOST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(message: Value) -> Result<Message, String> {
        let parsed = Conversation::parse(&json!([message]), None);
        let first = parsed.map(|mut it| it.messages.remove(0));
        first.map_err(|error| error.to_string())
    }

    #[test]
    fn a_turn_keeps_all_that_it_says_in_its_order() {
        let call = json!([{"id": "c1", "function": {"name": "f", "arguments": {"z": 1, "a": 2}}}]);
        let given = json!({"tool_calls": call, "role": "assistant", "reasoning_content": "so"});
        let message = one(given.clone()).unwrap();
        assert_eq!(
            Value::Object(message.object().clone()).to_string(),
            given.to_string()
        );
        assert_eq!((message.role(), message.content()), (Role::Assistant, ""));
        let spoken: Vec<&str> = message.spoken_keys().collect();
        assert_eq!(spoken, ["tool_calls", "reasoning_content"]);
        let said = Conversation::from(vec![message]).text();
        assert!(
            said.contains("\"name\":\"f\"") && said.ends_with("\nso"),
            "{said}"
        );
    }

    #[test]
    fn a_weight_says_whether_a_turn_is_learned_and_no_template_sees_it() {
        for (key, value, learned) in [
            ("weight", json!(0), false),
            ("weight", json!(1.0), true),
            ("train", json!(false), false),
            ("train", json!(true), true),
            ("weight", json!(null), true),
        ] {
            let message = one(json!({"role": "assistant", "content": "a", key: value})).unwrap();
            assert_eq!(message.is_learned(), learned, "{key} {value}");
            assert_eq!(message.object().len(), 2);
        }
        let user = one(json!({"role": "user", "content": "a", "weight": 0})).unwrap();
        assert!(!user.is_learned());
    }

    #[test]
    fn parts_of_text_are_joined() {
        let parts =
            json!([{"type": "text", "text": "a "}, {"type": "text", "text": "b", "image": null}]);
        assert_eq!(
            one(json!({"role": "user", "content": parts}))
                .unwrap()
                .content(),
            "a b"
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (message, part) in [
            (
                json!({"role": "user", "content": "a", "mood": "bad"}),
                "unknown key `mood`",
            ),
            (
                json!({"role": "developer", "content": "a"}),
                "`role` is `\"developer\"`",
            ),
            (json!({"content": "a"}), "`role` is `null`"),
            (json!({"role": "user"}), "`content` is `null`"),
            (
                json!({"role": "user", "content": null}),
                "null only beside `tool_calls`",
            ),
            (json!({"role": "user", "content": 5}), "`content` is `5`"),
            (
                json!({"role": "assistant", "content": "a", "weight": 0.5}),
                "`weight` is `0.5`",
            ),
            (
                json!({"role": "user", "content": "a", "weight": 1}),
                "only the assistant's",
            ),
            (
                json!({"role": "assistant", "content": "a", "tool_calls": "f()"}),
                "a list of calls",
            ),
            (
                json!({"role": "assistant", "content": "a", "reasoning_content": [1]}),
                "a text",
            ),
            (
                json!({"role": "user", "content": [{"type": "image", "url": "x"}]}),
                "`content` is `{\"type\":\"image\"",
            ),
            (
                json!({"role": "user", "content": [{"type": "text", "text": "x", "lang": "en"}]}),
                "parts {\"type\": \"text\"",
            ),
            (json!("hello"), "message 1 is `\"hello\"`"),
        ] {
            let error = one(message.clone()).unwrap_err();
            assert!(
                error.contains(part) && error.contains("message 1"),
                "{error}"
            );
            assert!(!error.contains('\n'));
        }
        let list = |messages, tools: Option<&Value>| {
            Conversation::parse(&messages, tools)
                .unwrap_err()
                .to_string()
        };
        assert!(list(json!([]), None).contains("is empty"));
        assert!(list(json!("a"), None).contains("`messages` is `\"a\"`"));
        let one = json!([{"role": "user", "content": "a"}]);
        assert!(list(one, Some(&json!("f"))).contains("`tools` is"));
    }

    #[test]
    fn null_and_no_calls_are_as_if_the_key_were_absent() {
        let given = json!({"role": "user", "content": "a", "name": null, "tool_calls": []});
        assert_eq!(one(given).unwrap(), Message::new(Role::User, "a"));
    }
}
