//! Who speaks at each token of a conversation: what supervised fine-tuning learns to say.

use super::chat::CHATML_TOKENS;
use super::special::{ASSISTANT, END, SYSTEM, USER};
use super::{Tokenizer, TokenizerError};

/// How turns are marked among ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnMarks {
    /// A token opens a turn of each role.
    Roles {
        /// Tokens that open a turn of anybody.
        opens: Vec<u32>,
        /// That of the assistant.
        assistant: u32,
        /// Closes a turn.
        end: u32,
    },
    /// A token opens a turn, and its role follows as text.
    Header {
        /// Opens a turn.
        open: u32,
        /// Ids of the assistant's role and the line end behind it.
        assistant: Vec<u32>,
        /// Closes a turn.
        end: u32,
    },
}

impl TurnMarks {
    /// Those of a tokenizer; none where it has no tokens for turns.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`] if the tokenizer cannot encode a role.
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Self>, TokenizerError> {
        let id = |name: &str| tokenizer.token_id(name);
        let roles = [SYSTEM, USER, ASSISTANT].map(id);
        if let ([Some(system), Some(user), Some(assistant)], Some(end)) = (roles, id(END)) {
            return Ok(Some(Self::Roles {
                opens: vec![system, user, assistant],
                assistant,
                end,
            }));
        }
        let [Some(open), Some(end)] = CHATML_TOKENS.map(id) else {
            return Ok(None);
        };
        Ok(Some(Self::Header {
            open,
            assistant: tokenizer.encode("assistant\n")?,
            end,
        }))
    }

    /// Whether each token is one that the assistant says, the end of its turn included. None where no
    /// turn is opened: that is a text.
    pub fn said_by_assistant(&self, ids: &[u32]) -> Option<Vec<bool>> {
        let mut said = vec![false; ids.len()];
        let (mut is_conversation, mut at) = (false, 0);
        while at < ids.len() {
            let id = ids[at];
            at += 1;
            let end = match self {
                Self::Roles {
                    opens,
                    assistant,
                    end,
                } => {
                    is_conversation |= opens.contains(&id);
                    (id == *assistant).then_some(*end)
                }
                Self::Header {
                    open,
                    assistant,
                    end,
                } => {
                    is_conversation |= id == *open;
                    let is_his = id == *open && ids[at..].starts_with(assistant);
                    at += if is_his { assistant.len() } else { 0 };
                    is_his.then_some(*end)
                }
            };
            let Some(end) = end else { continue };
            while at < ids.len() {
                said[at] = true;
                at += 1;
                if ids[at - 1] == end {
                    break;
                }
            }
        }
        is_conversation.then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::{Message, Role, Template};
    use super::*;

    fn messages() -> Vec<Message> {
        vec![
            Message::new(Role::System, "be brief"),
            Message::new(Role::User, "assistant\n?"),
            Message::new(Role::Assistant, "yes"),
            Message::new(Role::User, "no"),
            Message::new(Role::Assistant, "maybe"),
        ]
    }

    /// What the assistant says, turn after turn.
    fn said(template: Template, tokenizer: &Tokenizer) -> String {
        let ids = template.conversation(tokenizer, &messages()).unwrap();
        let marks = TurnMarks::of(tokenizer).unwrap().unwrap();
        let said = marks.said_by_assistant(&ids).unwrap();
        let his = ids.iter().zip(said).filter(|(_, said)| *said);
        let name = |id: u32| match tokenizer.decode(&[id]) {
            text if text.is_empty() => tokenizer.token(id).unwrap(),
            text => text,
        };
        his.map(|(&id, _)| name(id)).collect()
    }

    #[test]
    fn the_assistant_says_his_words_and_the_end_of_his_turn() {
        let tokenizer = Tokenizer::bytes();
        assert_eq!(said(Template::Turns, &tokenizer), "yes<|end|>maybe<|end|>");
        let json = tokenizer.json().replace("<|user|>", "<|other|>");
        let chatml = Tokenizer::from_bytes(json.as_bytes()).unwrap();
        let chatml = chatml.with_special_tokens(&CHATML_TOKENS).unwrap();
        assert_eq!(
            said(Template::ChatMl, &chatml),
            "yes<|im_end|>maybe<|im_end|>"
        );
        assert_eq!(
            said(Template::GenesisChatMl, &chatml),
            "yes\n<|im_end|>maybe\n<|im_end|>"
        );
    }

    #[test]
    fn a_text_is_nobodys_turn() {
        let tokenizer = Tokenizer::bytes();
        let marks = TurnMarks::of(&tokenizer).unwrap().unwrap();
        let ids = tokenizer.encode("<|assistant|>yes<|end|>").unwrap();
        assert_eq!(marks.said_by_assistant(&ids), None);
    }
}
