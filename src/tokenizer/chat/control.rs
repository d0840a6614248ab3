//! Control tokens written into a message by its author.
//!
//! They must stay text, whereas those that the template writes are markup. To tell them apart, a message that has any
//! is rendered a second time with marks around them. The result counts only if it equals the first text once the
//! marks are removed, because a template may search for such tokens (an answer's `</think>`). Which tokens count, and
//! how marked ones are encoded, follows transformers' `sanitize_control_tokens`.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};

use super::{Message, Role, TemplateError, Tokenizer, TokenizerError};

/// Messages and tools as a template sees them.
pub(super) type Objects = (Vec<Map<String, Value>>, Vec<Value>);

const MARKS: [char; 2] = ['\u{F0000}', '\u{F0001}'];

/// Control tokens of a tokenizer and a template.
#[derive(Debug)]
pub(super) struct ControlTokens {
    /// Special tokens: text in anyone's messages.
    special: AhoCorasick,
    /// Special tokens and those that the template writes: text in all messages but the assistant's, which may contain
    /// reasoning.
    all: AhoCorasick,
}

/// Whose messages are marked, and for which tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// All messages; in the assistant's only special tokens are marked.
    Everybody,
    /// All messages but the assistant's, for special tokens.
    Others,
}

impl ControlTokens {
    pub(super) fn of(tokenizer: &Tokenizer, template: &str) -> Self {
        let added = tokenizer.shared.inner.get_added_tokens_decoder();
        let contents = |is_wanted: &dyn Fn(&tokenizers::AddedToken) -> bool| {
            let wanted = added
                .values()
                .filter(|token| !token.content.is_empty() && is_wanted(token));
            let contents: Vec<&str> = wanted.map(|token| token.content.as_str()).collect();
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(contents);
            #[allow(clippy::expect_used)]
            automaton.expect("a vocabulary is far below the limits of an automaton")
        };
        let is_written = |token: &tokenizers::AddedToken| {
            template.contains(&token.content) && !token.content.trim().is_empty()
        };
        Self {
            special: contents(&|token| token.special),
            all: contents(&|token| token.special || is_written(token)),
        }
    }

    /// Byte offset of the end of the control token that `text` ends with, trailing white space ignored.
    pub(super) fn last_end(&self, text: &str) -> Option<usize> {
        let trimmed = text.trim_end();
        let last = self.all.find_iter(trimmed).last()?;
        (last.end() == trimmed.len()).then_some(trimmed.len())
    }

    /// The first control token of a text.
    pub(super) fn first<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.all.find(text).map(|found| &text[found.range()])
    }

    /// The objects with marks around control tokens; `None` if there are none.
    pub(super) fn marked(
        &self,
        messages: &[Message],
        tools: &[Value],
        whose: Marked,
    ) -> Result<Option<Objects>, TemplateError> {
        let mut found = false;
        let mut mark = |value: &Value, tokens: &AhoCorasick| marked(value, tokens, &mut found);
        let of = |message: &Message| match (message.role(), whose) {
            (Role::Assistant, Marked::Everybody) | (_, Marked::Others) => &self.special,
            (_, Marked::Everybody) => &self.all,
        };
        let mut objects = Vec::with_capacity(messages.len());
        for message in messages {
            let is_left = whose == Marked::Others && message.role() == Role::Assistant;
            let mut object = Map::new();
            for (key, value) in message.object() {
                let value = match key.as_str() {
                    "role" => value.clone(),
                    _ if is_left => value.clone(),
                    _ => mark(value, of(message))?,
                };
                object.insert(key.clone(), value);
            }
            objects.push(object);
        }
        let tools = tools.iter().map(|tool| mark(tool, &self.special));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        Ok(found.then_some((objects, tools)))
    }

    /// A control token in these messages, for an error message.
    pub(super) fn example(&self, messages: &[Message]) -> String {
        let mut texts = messages
            .iter()
            .map(|it| Value::Object(it.object().clone()).to_string());
        let found = texts.find_map(|text| {
            self.all
                .find(&text)
                .map(|found| text[found.range()].to_owned())
        });
        found.unwrap_or_default()
    }
}

fn marked(value: &Value, tokens: &AhoCorasick, found: &mut bool) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => {
            refuse(text, &MARKS)?;
            let [open, close] = MARKS;
            let (mut out, mut copied) = (String::new(), 0);
            for token in tokens.find_iter(text) {
                *found = true;
                out.push_str(&text[copied..token.start()]);
                out.extend([open]);
                out.push_str(&text[token.range()]);
                out.extend([close]);
                copied = token.end();
            }
            out.push_str(&text[copied..]);
            out.into()
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| marked(item, tokens, found));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            let mut out = Map::new();
            for (key, value) in object {
                let key = marked(&key.as_str().into(), tokens, found)?;
                let key = key.as_str().unwrap_or_default().to_owned();
                out.insert(key, marked(value, tokens, found)?);
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}

/// Refuses a text that contains one of the marks.
pub(super) fn refuse(text: &str, marks: &[char]) -> Result<(), TemplateError> {
    match text.chars().find(|c| marks.contains(c)) {
        Some(found) => Err(TemplateError::Mark { found }),
        None => Ok(()),
    }
}

/// Removes the marks from a rendering and returns the ranges between them.
pub(super) fn unmarked(rendered: &str) -> (String, Vec<Range<usize>>) {
    let (mut text, mut places, mut begin) =
        (String::with_capacity(rendered.len()), Vec::new(), None);
    for piece in rendered.split_inclusive(MARKS) {
        text.push_str(piece.trim_end_matches(MARKS));
        if piece.ends_with(MARKS[0]) {
            begin = Some(text.len());
        } else if piece.ends_with(MARKS[1])
            && let Some(begin) = begin.take()
        {
            places.push(begin..text.len());
        }
    }
    (text, places)
}

/// Encodes a rendering to ids with their byte ranges. Control tokens within the ranges `forged` are encoded as text.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    forged: &[Range<usize>],
) -> Result<Vec<(u32, Range<usize>)>, TemplateError> {
    let mut ids = Vec::new();
    let mut at = 0;
    for place in forged {
        piece(tokenizer, Reads::Markup, text, at..place.start, &mut ids)?;
        let token = &text[place.clone()];
        let id = tokenizer.token_id(token);
        let mut of_token = Vec::new();
        // special tokens can be encoded as text, other control tokens only in two parts
        let is_special = tokenizer
            .shared
            .inner
            .get_added_vocabulary()
            .is_special_token(token);
        if is_special {
            piece(tokenizer, Reads::Text, text, place.clone(), &mut of_token)?;
        } else {
            let cut = place.start + token.chars().next().map_or(0, char::len_utf8);
            piece(
                tokenizer,
                Reads::Markup,
                text,
                place.start..cut,
                &mut of_token,
            )?;
            piece(
                tokenizer,
                Reads::Markup,
                text,
                cut..place.end,
                &mut of_token,
            )?;
        }
        if of_token.iter().any(|(of_token, _)| Some(*of_token) == id) {
            return Err(TemplateError::Forged {
                token: token.to_owned(),
            });
        }
        ids.extend(of_token);
        at = place.end;
    }
    piece(tokenizer, Reads::Markup, text, at..text.len(), &mut ids)?;
    Ok(ids)
}

/// Whether control tokens are recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Markup,
    Text,
}

/// Encodes a part of a text; only the first part gets the tokenizer's prefix, such as a space.
fn piece(
    tokenizer: &Tokenizer,
    reads: Reads,
    text: &str,
    place: Range<usize>,
    ids: &mut Vec<(u32, Range<usize>)>,
) -> Result<(), TokenizerError> {
    if place.is_empty() {
        return Ok(());
    }
    let encode = |text: &str| match reads {
        Reads::Markup => tokenizer.encode_markup_places(text),
        Reads::Text => {
            let ids = tokenizer.encode(text)?;
            Ok(ids.into_iter().map(|id| (id, 0..text.len())).collect())
        }
    };
    let (begin, end) = (place.start, place.end);
    let part = &text[place];
    let moved = |(id, at): (u32, Range<usize>), by: usize| {
        (
            id,
            (begin + at.start.saturating_sub(by)).min(end)
                ..(begin + at.end.saturating_sub(by)).min(end),
        )
    };
    if begin > 0 {
        // after a line end, no tokenizer inserts the space that some put before a text
        let line_end = encode("\n")?;
        let behind = encode(&format!("\n{part}"))?;
        let is_behind =
            behind.len() >= line_end.len() && behind.iter().zip(&line_end).all(|(a, b)| a.0 == b.0);
        if is_behind {
            let own = behind.into_iter().skip(line_end.len());
            ids.extend(own.map(|token| moved(token, 1)));
            return Ok(());
        }
    }
    ids.extend(encode(part)?.into_iter().map(|token| moved(token, 0)));
    Ok(())
}
