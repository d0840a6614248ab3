//! A conversation in a context of limited length: what is read next, and what is forgotten for it.

use std::fmt;

use crate::domain::Domain;
use crate::tokenizer::chat::{Kind, Message, Role, Template};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;

/// Everything that was said.
pub(super) struct Conversation<'a> {
    chat: Chat<'a>,
    messages: Vec<Message>,
}

/// What stays the same while it is talked.
#[derive(Clone, Copy)]
pub(super) struct Chat<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) template: &'a Template,
    /// Domain of the text, if it is known.
    pub(super) domain: Option<Domain>,
    /// Most tokens of an answer.
    pub(super) max_tokens: usize,
}

/// What to do about a line.
#[derive(Debug)]
pub(super) enum Next {
    /// The model reads the conversation, as far as it still fits.
    Read {
        ids: Vec<u32>,
        forgotten: Option<Forgotten>,
    },
    /// Nothing: it does not fit, whatever is forgotten.
    TooLong(TooLong),
}

/// What no longer fits into the context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    turns: usize,
    tokens: usize,
    context: usize,
}

/// A line that is longer than the context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    tokens: usize,
    context: usize,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            turns,
            tokens,
            context,
        } = self;
        let turns = match turns {
            1 => "turn is".to_owned(),
            _ => format!("{turns} turns are"),
        };
        write!(
            f,
            "the context of {context} tokens is full: the oldest {turns} forgotten, {tokens} tokens"
        )
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, context } = self;
        write!(
            f,
            "this does not fit: {tokens} tokens with what stands around it, but the model's context is {context}; say less at a time"
        )
    }
}

impl<'a> Conversation<'a> {
    /// One that begins with what the model is told, if it is told something.
    pub(super) fn new(chat: Chat<'a>, system: Option<&str>) -> Self {
        let system = system.map(|text| Message::new(Role::System, text));
        Self {
            chat,
            messages: system.into_iter().collect(),
        }
    }

    /// Refuses instructions that leave no room for a line.
    pub(super) fn refuse_long_system(&self) -> Result<(), Failure> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::User, "a"));
        let tokens = self.ids(&messages)?.len();
        let context = self.chat.loaded.experiment.model.max_position_embeddings;
        if tokens < context {
            Ok(())
        } else {
            Err(Failure::input(format!(
                "`--system` does not fit: {tokens} tokens with the shortest line, but the model's context is {context}; say less"
            )))
        }
    }

    /// Adds what the user says, if the template takes it and there is room for it.
    pub(super) fn say(&mut self, said: &str) -> Result<Next, Failure> {
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::User, said));
        let context = self.chat.loaded.experiment.model.max_position_embeddings;
        // a short context keeps room for a line all the same
        let room = context - self.chat.max_tokens.min(context / 4);
        let all = self.ids(&messages)?;
        let (mut ids, mut turns) = (all.clone(), 0);
        while ids.len() > room && forget_oldest_turn(&mut messages) {
            ids = self.ids(&messages)?;
            turns += 1;
        }
        // an answer has a token at least
        if ids.len() >= context {
            let tokens = ids.len();
            return Ok(Next::TooLong(TooLong { tokens, context }));
        }
        self.messages = messages;
        let forgotten = (turns > 0).then(|| Forgotten {
            turns,
            tokens: all.len() - ids.len(),
            context,
        });
        Ok(Next::Read { ids, forgotten })
    }

    /// Adds an answer.
    pub(super) fn answer(&mut self, text: &str) {
        let text = match self.chat.template.kind() {
            // the template writes the line end itself
            Kind::Genesis | Kind::Plain => text.trim(),
            Kind::Published | Kind::Turns => text,
        };
        self.messages.push(Message::new(Role::Assistant, text));
    }

    /// Takes back what the user said last: it was not answered.
    pub(super) fn take_back(&mut self) {
        self.messages.pop();
    }

    fn ids(&self, messages: &[Message]) -> Result<Vec<u32>, Failure> {
        let Chat {
            loaded,
            template,
            domain,
            ..
        } = self.chat;
        let conversation = messages.to_vec().into();
        let ids = template.prompt(loaded.tokenizer()?, &conversation, domain);
        ids.or_input()
    }
}

/// Removes the oldest turn that is not the last: what the user said, and the answer. False if there is none.
fn forget_oldest_turn(messages: &mut Vec<Message>) -> bool {
    let places = messages.iter().enumerate();
    let mut of_user = places.filter(|(_, message)| message.role() == Role::User);
    let (Some((oldest, _)), Some((next, _))) = (of_user.next(), of_user.next()) else {
        return false;
    };
    messages.drain(oldest..next);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_turns_go_first_and_the_system_s_words_and_the_last_line_stay() {
        let roles = [
            Role::System,
            Role::User,
            Role::Assistant,
            Role::User,
            Role::Assistant,
            Role::User,
        ];
        let numbered = roles.into_iter().enumerate();
        let mut messages: Vec<Message> = numbered
            .map(|(at, role)| Message::new(role, at.to_string()))
            .collect();
        let left = |messages: &[Message]| {
            let contents = messages.iter().map(|it| it.content().to_owned());
            contents.collect::<Vec<_>>().join(" ")
        };
        assert!(forget_oldest_turn(&mut messages));
        assert_eq!(left(&messages), "0 3 4 5");
        assert!(forget_oldest_turn(&mut messages));
        assert_eq!(left(&messages), "0 5");
        assert!(!forget_oldest_turn(&mut messages));
        assert_eq!(left(&messages), "0 5");
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        let forgotten = |turns| Forgotten {
            turns,
            tokens: 80,
            context: 128,
        };
        assert_eq!(
            forgotten(1).to_string(),
            "the context of 128 tokens is full: the oldest turn is forgotten, 80 tokens"
        );
        assert!(
            forgotten(3)
                .to_string()
                .contains("oldest 3 turns are forgotten")
        );
    }
}
