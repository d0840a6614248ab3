//! A record of a file: a JSON object, or the same columns of a parquet row.

use serde_json::Value;
use serde_json::error::Category;

use super::conversation::{self, Beside, TurnsError};
use super::json::{self, Fault};
use crate::tokenizer::chat::Conversation;

/// Default key of a document's text.
pub(super) const TEXT: &str = "text";
/// Keys of a conversation.
pub(super) const CONVERSATIONS: [&str; 2] = ["messages", "conversations"];
/// Key of a document's domain.
pub(super) const DOMAIN: &str = "domain";
/// Keys beside a conversation.
pub(super) const SYSTEM: &str = "system";
pub(super) const TOOLS: &str = "tools";

/// Content of a record, not yet validated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) text: String,
    pub(super) conversation: Option<Conversation>,
    pub(super) tag: Option<String>,
}

/// Why an object is not a valid record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A syntax error, with its position.
    Broken(Fault),
    /// A conversation in an unexpected form.
    Turns(TurnsError),
    /// The text or the conversation is null; holds its key.
    Null(String),
    /// Neither a text nor a conversation; holds the keys that exist.
    NoText(Vec<String>),
}

/// Values of the known keys; of duplicate keys the last counts, as in Python.
#[derive(Default)]
struct Found<'a> {
    text: Option<Place<'a>>,
    conversation: Option<Place<'a>>,
    domain: Option<Place<'a>>,
    system: Option<Place<'a>>,
    tools: Option<Place<'a>>,
    /// Key of a text or conversation that is null.
    null: Option<String>,
}

/// Largest number of keys named in an error.
const TOLD_KEYS: usize = 8;

/// JSON text of a value, and its byte offset in the object.
#[derive(Clone, Copy)]
struct Place<'a> {
    value: &'a str,
    at: usize,
}

/// Reads an object. A conversation takes precedence over a text, unless the text's field was named by the user.
pub(super) fn parse(object: &str, text_field: Option<&str>) -> Result<Record, Refusal> {
    let mut found = Found::default();
    json::members(object, |member| {
        let place = Place {
            value: member.value,
            at: member.at,
        };
        // null counts as absent and does not replace an earlier value
        let slot = match &*member.key {
            key if member.value == "null" => {
                let is_text = key == text_field.unwrap_or(TEXT);
                if is_text || text_field.is_none() && CONVERSATIONS.contains(&key) {
                    found.null = Some(key.into());
                }
                return;
            }
            key if key == text_field.unwrap_or(TEXT) => &mut found.text,
            key if CONVERSATIONS.contains(&key) => &mut found.conversation,
            DOMAIN => &mut found.domain,
            SYSTEM => &mut found.system,
            TOOLS => &mut found.tools,
            _ => return,
        };
        *slot = Some(place);
    })
    .map_err(Refusal::Broken)?;

    let tag = found.domain.map(read::<String>).transpose()?;
    if let Some(text) = found.text
        && (text_field.is_some() || found.conversation.is_none())
    {
        let text = read::<String>(text)?;
        return Ok(Record {
            text,
            conversation: None,
            tag,
        });
    }
    let Some(conversation) = found.conversation else {
        return Err(match found.null {
            Some(key) => Refusal::Null(key),
            None => Refusal::NoText(keys(object)),
        });
    };
    let turns = read::<Value>(conversation)?;
    let beside = Beside {
        system: found.system.map(read::<String>).transpose()?,
        tools: found.tools.map(read::<Value>).transpose()?,
    };
    let conversation = conversation::read(turns, beside).map_err(Refusal::Turns)?;
    Ok(Record::of(conversation, tag))
}

/// The first keys of an object, for an error.
fn keys(object: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let read = json::members(object, |member| {
        if keys.len() < TOLD_KEYS {
            keys.push(member.key.chars().take(40).collect());
        }
    });
    read.map_or(Vec::new(), |()| keys)
}

impl Record {
    /// A conversation, with the content of its messages as text.
    pub(super) fn of(conversation: Conversation, tag: Option<String>) -> Self {
        Self {
            text: conversation.text(),
            conversation: Some(conversation),
            tag,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(place: Place<'_>) -> Result<T, Refusal> {
    serde_json::from_str(place.value).map_err(|error| {
        let place_in_value = format!(" at line {} column {}", error.line(), error.column());
        let reason = error.to_string();
        let reason = reason.trim_end_matches(&place_in_value);
        let before: usize = place
            .value
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let at = match error.classify() {
            // the value is valid JSON of another type
            Category::Data => place.at,
            _ => place.at + before + error.column().saturating_sub(1),
        };
        Refusal::Broken(Fault {
            at,
            reason: reason.into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::chat::Role;

    fn text(object: &str) -> String {
        parse(object, None).unwrap().text
    }

    fn fault(object: &str) -> (usize, String) {
        match parse(object, None).unwrap_err() {
            Refusal::Broken(Fault { at, reason }) => (at, reason),
            other => panic!("{other:?} in {object}"),
        }
    }

    #[test]
    fn keys_that_nobody_reads_may_hold_anything() {
        let object = r#"{"score": NaN, "raw": "\ud800", "big": 1e400, "text": "a", "\udc00": [{}], "domain": "law"}"#;
        let record = parse(object, None).unwrap();
        assert_eq!((&*record.text, record.tag.as_deref()), ("a", Some("law")));
    }

    #[test]
    fn the_last_of_equal_keys_holds_and_null_is_none() {
        assert_eq!(text(r#"{"text": "a", "text": "b", "text": null}"#), "b");
        assert_eq!(
            parse(r#"{"text": null}"#, None).unwrap_err(),
            Refusal::Null("text".into())
        );
    }

    #[test]
    fn another_field_may_hold_the_text() {
        let object =
            r#"{"text": "a", "content": "b", "messages": [{"role":"user","content":"c"}]}"#;
        assert_eq!(parse(object, Some("content")).unwrap().text, "b");
        let record = parse(object, None).unwrap();
        assert_eq!(
            (&*record.text, record.conversation.unwrap().messages.len()),
            ("c", 1)
        );
        let record = parse(object, Some("body")).unwrap();
        assert_eq!(record.conversation.unwrap().messages[0].role(), Role::User);
    }

    #[test]
    fn a_value_of_another_kind_is_told_with_its_byte() {
        let (at, reason) = fault(r#"{"text": 5}"#);
        assert_eq!(at, 9);
        assert!(reason.starts_with("invalid type: integer `5`"), "{reason}");
        let (at, reason) = fault(r#"{"x": 1, "text": "ab\ud800"}"#);
        assert!((22..28).contains(&at), "{at}");
        assert!(
            reason.contains("surrogate") || reason.contains("hex escape"),
            "{reason}"
        );
        let (at, _) = fault("{\"messages\":\n[\n{\"role\": NaN}]}");
        assert_eq!(at, 24);
        let turns = parse(r#"{"conversations": [{"from":"human"}]}"#, None);
        let nothing = TurnsError::NoValue { message: 1 };
        assert_eq!(turns.unwrap_err(), Refusal::Turns(nothing));
    }
}
