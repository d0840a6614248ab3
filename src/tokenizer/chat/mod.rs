//! Chat templates: from conversations to token ids.
//!
//! The model's chat template ([`Template`]) renders a [`Conversation`] to one text, as in transformers. That text is
//! encoded at once, so its ids are those of transformers. The speaker of each token is found by its position in the
//! text, not by searching ids. Control tokens written into a message stay text, so no author can forge a turn.

mod clock;
mod control;
mod error;
mod generation;
mod jinja;
mod message;
mod ours;
pub(crate) mod python;
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
