//! `render`: shows conversations as rendered by a chat template.

use std::io::{BufReader, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::output::Output;
use crate::cli::tokenizer_source::TokenizerSource;
use crate::data::{Documents, Source, SourceOptions};
use crate::domain::Domain;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Conversation, Template};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis render --model ./SmolLM2-135M-Instruct chats.jsonl
  darkhorse-genesis render --model runs/mixed --prompt chats.jsonl
  darkhorse-genesis render --tokenizer ./SmolLM2-135M-Instruct --json < chats.jsonl

What training reads is read: `messages` or `conversations` with, if there are some, `system` and `tools`, on lines, \
in an array or in a parquet file. The text is that of transformers' \
apply_chat_template. --json tells the ids as well, and which of them training on the conversation learns.";

/// Show conversations as the model's chat template writes them, and which parts are learned
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    /// File or folder of conversations [default: JSON on the standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: TokenizerSource,
    /// Render up to where the assistant begins to speak, as `chat` does
    #[arg(long)]
    prompt: bool,
    /// Print a line of JSON for each: its text, its ids, and without --prompt which ids are learned
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &RenderArgs) -> Result<(), Failure> {
    let tokenizer = args.source.open()?;
    let template = Template::of(&tokenizer).or_input()?;
    template.notice().into_iter().for_each(notice::tell);
    let mut out = Output::open();
    for document in args.documents()? {
        let document = document.or_input()?;
        let origin = &document.origin;
        let shown = match &document.conversation {
            Some(conversation) => args.shown(conversation, &template, &tokenizer),
            None => Err(Failure::input(
                "a text without turns, expected `messages` or `conversations`",
            )),
        };
        let shown = shown.map_err(|failure| {
            let (file, line) = (origin.file.display(), origin.line);
            Failure::input(format!("`{file}` line {line}: {}", failure.line()))
        })?;
        writeln!(out, "{shown}")?;
    }
    Ok(())
}

impl RenderArgs {
    /// The documents, read as in training.
    fn documents(&self) -> Result<Documents, Failure> {
        let options = SourceOptions {
            // domains do not matter here
            unknown_domain: Some(Domain::General),
            ..SourceOptions::default()
        };
        match &self.file {
            Some(path) => Ok(Source::open(&[path], options).or_input()?.documents()),
            None => {
                let input = BufReader::new(std::io::stdin());
                Documents::of_json(input, "standard input", options).or_input()
            }
        }
    }

    fn shown(
        &self,
        conversation: &Conversation,
        template: &Template,
        tokenizer: &Tokenizer,
    ) -> Result<String, Failure> {
        let text = template.text(conversation, !self.prompt).or_input()?;
        if !self.json {
            return Ok(text);
        }
        Ok(if self.prompt {
            let ids = template.prompt(tokenizer, conversation, None).or_input()?;
            json!({"text": text, "ids": ids}).to_string()
        } else {
            let rendered = template.rendered(tokenizer, conversation).or_input()?;
            let learned: Vec<u8> = rendered.learned.iter().map(|&it| it.into()).collect();
            json!({"text": text, "ids": rendered.ids, "learned": learned}).to_string()
        })
    }
}
