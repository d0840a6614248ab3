//! Errors of chat templates.

use super::TokenizerError;

/// A chat template that fails, or a conversation that it cannot render.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TemplateError {
    /// The template has an error, or uses something unsupported.
    #[error("the model's chat template fails in line {line}: {reason}")]
    Failed { line: usize, reason: String },
    /// The template contains an unsupported construct.
    #[error("the model's chat template has {what}, which is not supported")]
    NotRendered { what: &'static str },
    /// The template refuses the conversation by `raise_exception`.
    #[error("the model's chat template refuses this conversation: {message}")]
    Raised { message: String },
    /// The rendering exceeds its limit of steps.
    #[error("the model's chat template takes more than {steps} steps: it may loop for ever")]
    TooMuch { steps: u64 },
    /// `chat_template` is not text.
    #[error(
        "`chat_template` is {found}, expected a template or a list of named ones with one called `default`"
    )]
    NoTemplate { found: String },
    /// The template leaves out a key of a message.
    #[error(
        "message {message}: the model's chat template does not write `{key}`: remove the key, or train a model whose template does"
    )]
    Unwritten { message: usize, key: String },
    /// The template leaves out a message of this role.
    #[error(
        "message {message}: the model's chat template has no turns of the role `{role}`: remove the message, or train a model whose template has"
    )]
    UnwrittenTurn { message: usize, role: &'static str },
    /// The template leaves out the tools.
    #[error(
        "the model's chat template does not write `tools`: remove the key, or train a model whose template does"
    )]
    UnwrittenTools,
    /// The assistant's words cannot be located, because earlier text changes when the answer follows.
    #[error(
        "message {message}: the model's chat template writes what comes before otherwise when this answer follows, so what the assistant says cannot be told: give it `{{% generation %}}` marks, or train on conversations of one answer"
    )]
    Changing { message: usize },
    /// The text before an answer cannot be rendered alone, for example because the assistant speaks first.
    #[error(
        "message {message}: what comes before this answer cannot be rendered alone, so what the assistant says cannot be told: {source}"
    )]
    Before {
        message: usize,
        source: Box<TemplateError>,
    },
    /// The template's marks do not match the assistant's turns.
    #[error(
        "the model's chat template marks {found} turns by `{{% generation %}}`, but the conversation has {expected} of the assistant: `weight` and `train` cannot be followed"
    )]
    Marks { found: usize, expected: usize },
    /// A message contains a private-use character that this module uses as a mark.
    #[error("a message has the character U+{:X}, which is for private use and marks places here: remove it", u32::from(*.found))]
    Mark { found: char },
    /// A message contains a control token that could not be kept as text.
    #[error(
        "a message has the text `{token}`, which the model reads as a control token: remove it"
    )]
    Forged { token: String },
    /// The model has no template, and none of ours fits.
    #[error(
        "the model has no chat template, so the turns of a conversation cannot be marked: lay its `chat_template.jinja` beside `tokenizer.json`"
    )]
    None,
    /// The tokenizer refuses the text.
    #[error(transparent)]
    Encode(#[from] TokenizerError),
}
