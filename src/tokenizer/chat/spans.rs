//! Token ids of a conversation, and which of them are the assistant's.

use std::ops::Range;

use serde_json::{Map, Value};

use super::control::encode;
use super::template::{Purpose, Text};
use super::{Conversation, Kind, Message, Role, Template, TemplateError, Tokenizer};
use crate::domain::Domain;

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Token ids of the whole conversation.
    pub ids: Vec<u32>,
    /// Whether each id is learned: the assistant's words and the end of each of its turns; empty: all ids.
    pub learned: Vec<bool>,
    /// Whether the ids are complete; otherwise packing puts the tokenizer's tokens around them, as around other
    /// documents.
    pub stands_alone: bool,
}

impl Rendered {
    /// A plain text, learned as a whole.
    pub fn text(ids: Vec<u32>) -> Self {
        Self {
            ids,
            learned: Vec::new(),
            stands_alone: false,
        }
    }
}

impl Template {
    /// Token ids of a conversation as a prompt, up to where the assistant begins to speak.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template or the tokenizer refuses it.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        domain: Option<Domain>,
    ) -> Result<Vec<u32>, TemplateError> {
        self.refuse_unwritten(conversation)?;
        let domain = domain.filter(|domain| tokenizer.domain_token(*domain).is_some());
        let Conversation { messages, tools } = conversation;
        let Text { text, forged, .. } = self.render(messages, tools, Purpose::Prompt(domain))?;
        let ids = encode(tokenizer, &text, &forged)?.into_iter();
        Ok(ids.map(|(id, _)| id).collect())
    }

    /// Token ids of a whole conversation for training, with every turn closed.
    ///
    /// A token is learned if any part of it belongs to the assistant's words.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template or the tokenizer refuses it, or if the assistant's words cannot be located.
    pub fn rendered(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
    ) -> Result<Rendered, TemplateError> {
        if self.kind() == Kind::Plain {
            return Err(TemplateError::None);
        }
        self.refuse_unwritten(conversation)?;
        let Conversation { messages, tools } = conversation;
        let text = self.render(messages, tools, Purpose::Data)?;
        let said = if self.marks_generations(tools) {
            marked(messages, &text)?
        } else {
            self.differences(conversation, &text.text)?
        };
        let mut said = said.into_iter().peekable();
        let tokens = encode(tokenizer, &text.text, &text.forged)?;
        let (mut ids, mut learned) = (
            Vec::with_capacity(tokens.len()),
            Vec::with_capacity(tokens.len()),
        );
        for (id, place) in tokens {
            while said.next_if(|said| said.end <= place.start).is_some() {}
            let is_said = said.peek().is_some_and(|said| {
                place.start < said.end && place.end.max(place.start + 1) > said.start
            });
            ids.push(id);
            learned.push(is_said);
        }
        Ok(Rendered {
            ids,
            learned,
            stands_alone: self.kind() != Kind::Turns,
        })
    }

    /// Locates the assistant's words by comparing the text rendered before each of its turns with the text rendered
    /// after it.
    fn differences(
        &self,
        conversation: &Conversation,
        whole: &str,
    ) -> Result<Vec<Range<usize>>, TemplateError> {
        let Conversation { messages, tools } = conversation;
        let mut said = Vec::new();
        let his = messages
            .iter()
            .enumerate()
            .filter(|(_, message)| message.is_learned());
        for (at, _) in his {
            let objects = super::template::objects(&messages[..=at]);
            let before = self.plain(&objects[..at], tools, Purpose::DataPrompt);
            let before = before.map_err(|source| TemplateError::Before {
                message: at + 1,
                source: Box::new(source),
            })?;
            let before = before.text;
            let with = if at + 1 == messages.len() {
                whole.to_owned()
            } else {
                self.plain(&objects, tools, Purpose::Data)?.text
            };
            // some templates put the end-of-text token after the conversation rather than after each turn
            let open = self.end_of_text().and_then(|end| with.strip_suffix(end));
            let with = [Some(with.as_str()), open];
            let with = with
                .into_iter()
                .flatten()
                .find(|with| whole.starts_with(with));
            let begin = with.and_then(|with| {
                if with.starts_with(&before) {
                    Some(before.len())
                } else {
                    self.begin(&objects, tools, [&before, with])
                }
            });
            let (Some(with), Some(begin)) = (with, begin) else {
                return Err(TemplateError::Changing { message: at + 1 });
            };
            let own = &with[begin..];
            // text after the end of a turn is not learned
            let length = self.inner.control.last_end(own).unwrap_or(own.len());
            said.push(begin..begin + length);
        }
        Ok(said)
    }
}

impl Template {
    /// Start of the last answer, for templates that write a prompt otherwise than a finished turn, for example with
    /// an open `<think>`: the common prefix of `[asked, with]`, but never beyond the start of the message's content.
    fn begin(
        &self,
        objects: &[Map<String, Value>],
        tools: &[Value],
        [asked, with]: [&str; 2],
    ) -> Option<usize> {
        let (_, before) = objects.split_last()?;
        let bare = self.plain(before, tools, Purpose::Data).ok()?.text;
        let open = self.end_of_text().and_then(|end| bare.strip_suffix(end));
        let bare = [Some(bare.as_str()), open].into_iter().flatten();
        let bare = { bare }.find(|bare| with.starts_with(bare))?.len();
        let header = self.header(objects, tools).unwrap_or(bare);
        let begin = common(asked, with).min(header).max(bare);
        // a template that drops reasoning does not write the whole message
        let content = objects.last()?.get("content").and_then(Value::as_str);
        let is_whole = content.is_none_or(|said| with[begin..].contains(said.trim()));
        is_whole.then_some(begin)
    }

    /// Byte offset of the last message's content.
    fn header(&self, objects: &[Map<String, Value>], tools: &[Value]) -> Option<usize> {
        let say = |word: &str| {
            let mut objects = objects.to_vec();
            let last = objects.last_mut()?;
            last.insert("content".into(), word.into());
            Some(self.plain(&objects, tools, Purpose::Data).ok()?.text)
        };
        Some(common(&say("A")?, &say("B")?))
    }
}

/// Length of the common prefix of two texts, in bytes.
fn common(left: &str, right: &str) -> usize {
    let pairs = left.chars().zip(right.chars());
    let same = pairs.take_while(|(left, right)| left == right);
    same.map(|(char, _)| char.len_utf8()).sum()
}

/// The marked ranges of the messages that are learned.
fn marked(messages: &[Message], text: &Text) -> Result<Vec<Range<usize>>, TemplateError> {
    let his: Vec<&Message> = messages
        .iter()
        .filter(|it| it.role() == Role::Assistant)
        .collect();
    let marks = &text.generations;
    if his.iter().all(|message| message.is_learned()) {
        return Ok(marks.clone());
    }
    if marks.len() != his.len() {
        return Err(TemplateError::Marks {
            found: marks.len(),
            expected: his.len(),
        });
    }
    let learned = marks
        .iter()
        .zip(his)
        .filter(|(_, message)| message.is_learned());
    Ok(learned.map(|(mark, _)| mark.clone()).collect())
}

#[cfg(test)]
mod tests;
