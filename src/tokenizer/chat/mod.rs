//! Conversations -> ids.
//!
//! A conversation ([`Conversation`]) is rendered by the model's own chat template ([`Template`]) to one
//! text, as transformers does it, and that text is encoded at once, so that its ids are transformers'.
//! Who speaks is known by place in the text, not searched among the ids. Control tokens that somebody
//! writes into a message stay text: nobody can forge a turn.

mod clock;
mod control;
mod error;
mod generation;
mod jinja;
mod message;
mod ours;
mod python;
mod scan;
mod spans;
mod template;

pub use clock::{Clock, Day, DayError};
pub use error::TemplateError;
pub use message::{Conversation, ConversationError, Message, Role};
pub(super) use ours::turns_of;
pub use ours::{CHATML_TOKENS, GENESIS_TEMPLATE};
pub use spans::Rendered;
pub use template::{Kind, Template};

use super::{Tokenizer, TokenizerError};
