//! What can go wrong with a chat template.

use super::TokenizerError;

/// A chat template that cannot be rendered, or a conversation that it cannot render.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TemplateError {
    /// Broken, or it does what is not known here.
    #[error("the model's chat template fails in line {line}: {reason}")]
    Failed { line: usize, reason: String },
    /// It is written with something that is not known here.
    #[error("the model's chat template has {what}, which is not supported")]
    NotRendered { what: &'static str },
    /// It refuses the conversation.
    #[error("the model's chat template refuses this conversation: {message}")]
    Raised { message: String },
    /// It may never end.
    #[error("the model's chat template takes more than {steps} steps: it may loop for ever")]
    TooMuch { steps: u64 },
    /// It is something else than text.
    #[error(
        "`chat_template` is {found}, expected a template or a list of named ones with one called `default`"
    )]
    NoTemplate { found: String },
    /// It leaves out what somebody says.
    #[error(
        "message {message}: the model's chat template does not write `{key}`: remove the key, or train a model whose template does"
    )]
    Unwritten { message: usize, key: String },
    /// It leaves out who somebody is.
    #[error(
        "message {message}: the model's chat template has no turns of the role `{role}`: remove the message, or train a model whose template has"
    )]
    UnwrittenTurn { message: usize, role: &'static str },
    /// It leaves out the tools.
    #[error(
        "the model's chat template does not write `tools`: remove the key, or train a model whose template does"
    )]
    UnwrittenTools,
    /// Who speaks cannot be told.
    #[error(
        "message {message}: the model's chat template writes what comes before otherwise when this answer follows, so what the assistant says cannot be told: give it `{{% generation %}}` marks, or train on conversations of one answer"
    )]
    Changing { message: usize },
    /// What comes before an answer cannot be rendered alone, as where the assistant speaks first.
    #[error(
        "message {message}: what comes before this answer cannot be rendered alone, so what the assistant says cannot be told: {source}"
    )]
    Before {
        message: usize,
        source: Box<TemplateError>,
    },
    /// Who speaks cannot be told.
    #[error(
        "the model's chat template marks {found} turns by `{{% generation %}}`, but the conversation has {expected} of the assistant: `weight` and `train` cannot be followed"
    )]
    Marks { found: usize, expected: usize },
    /// A text with a character that marks places.
    #[error("a message has the character U+{:X}, which is for private use and marks places here: remove it", u32::from(*.found))]
    Mark { found: char },
    /// A text that would be taken for markup.
    #[error(
        "a message has the text `{token}`, which the model reads as a control token: remove it"
    )]
    Forged { token: String },
    /// No template, and none of ours fits.
    #[error(
        "the model has no chat template, so the turns of a conversation cannot be marked: lay its `chat_template.jinja` beside `tokenizer.json`"
    )]
    None,
    /// The tokenizer refuses a text.
    #[error(transparent)]
    Encode(#[from] TokenizerError),
}
