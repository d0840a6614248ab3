//! A conversation within a limited context: which turns are read, and which are forgotten to make room.

use std::fmt;

use crate::domain::Domain;
use crate::tokenizer::chat::{Kind, Message, Role, Template};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;

/// The turns of a conversation.
pub(super) struct Conversation<'a> {
    chat: Chat<'a>,
    messages: Vec<Message>,
}

/// Settings of a chat that do not change between turns.
#[derive(Clone, Copy)]
pub(super) struct Chat<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) template: &'a Template,
    /// Domain of the text, if it is known.
    pub(super) domain: Option<Domain>,
    /// Largest number of tokens in an answer.
    pub(super) max_tokens: usize,
}

/// Outcome of adding a user's turn.
#[derive(Debug)]
pub(super) enum Next {
    /// The model reads these ids.
    Read {
        ids: Vec<u32>,
        forgotten: Option<Forgotten>,
    },
    /// The turn does not fit even if all earlier turns are forgotten.
    TooLong(TooLong),
}

/// Turns that were forgotten because they no longer fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    turns: usize,
    tokens: usize,
    context: usize,
}

/// A turn that is longer than the context.
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
    /// A conversation that begins with a system message, if there is one.
    pub(super) fn new(chat: Chat<'a>, system: Option<&str>) -> Self {
        let system = system.map(|text| Message::new(Role::System, text));
        Self {
            chat,
            messages: system.into_iter().collect(),
        }
    }

    /// Refuses a system message that leaves no room for a user's turn.
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

    /// Adds a user's turn if the template accepts it and it fits, and forgets old turns if necessary.
    pub(super) fn say(&mut self, said: &str) -> Result<Next, Failure> {
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::User, said));
        let context = self.chat.loaded.experiment.model.max_position_embeddings;
        // even a short context keeps room for the user's turn
        let room = context - self.chat.max_tokens.min(context / 4);
        let all = self.ids(&messages)?;
        let (mut ids, mut turns) = (all.clone(), 0);
        while ids.len() > room && forget_oldest_turn(&mut messages) {
            ids = self.ids(&messages)?;
            turns += 1;
        }
        // an answer has at least one token
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

    /// Adds an answer of the assistant.
    pub(super) fn answer(&mut self, text: &str) {
        let text = match self.chat.template.kind() {
            // the template writes the line end itself
            Kind::Genesis | Kind::Plain => text.trim(),
            Kind::Published | Kind::Turns => text,
        };
        self.messages.push(Message::new(Role::Assistant, text));
    }

    /// Removes the last user's turn, which was not answered.
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

/// Removes the oldest user's turn and its answer, unless it is the last one. Returns whether a turn was removed.
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
