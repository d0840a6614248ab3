//! `render`: conversations as the model's chat template writes them.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::tokenizer_source::TokenizerSource;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Conversation, Template};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis render --model ./SmolLM2-135M-Instruct chats.jsonl
  darkhorse-genesis render --model runs/mixed --prompt chats.jsonl
  darkhorse-genesis render --tokenizer ./SmolLM2-135M-Instruct --json < chats.jsonl

A line is an object with `messages` and, if there are some, `tools`. The text is that of transformers'
apply_chat_template. --json tells the ids as well, and which of them training on the conversation learns.";

/// Show conversations as the model's chat template writes them, and what is learned of them
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    /// Lines of JSON with conversations [default: the standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: TokenizerSource,
    /// Render up to where the assistant begins to speak, as `chat` does
    #[arg(long)]
    prompt: bool,
    /// Print a line of JSON for each: its text, its ids, and without --prompt which are learned
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &RenderArgs) -> Result<(), Failure> {
    let tokenizer = args.source.open()?;
    let template = Template::of(&tokenizer).or_input()?;
    template.notice().into_iter().for_each(notice::tell);
    let input: Box<dyn Read> = match &args.file {
        Some(path) => {
            let file = std::fs::File::open(path);
            Box::new(file.map_err(|error| {
                Failure::input(format!("cannot open `{}`: {error}", path.display()))
            })?)
        }
        None => Box::new(std::io::stdin().lock()),
    };
    // not `println!`, which panics where nobody reads on
    let mut out = std::io::stdout().lock();
    for (number, line) in (1..).zip(BufReader::new(input).lines()) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let shown = args.shown(&line, &template, &tokenizer);
        let shown = shown
            .map_err(|failure| Failure::input(format!("line {number}: {}", failure.line())))?;
        writeln!(out, "{shown}")?;
    }
    Ok(())
}

impl RenderArgs {
    fn shown(
        &self,
        line: &str,
        template: &Template,
        tokenizer: &Tokenizer,
    ) -> Result<String, Failure> {
        let object: Value = serde_json::from_str(line).or_input()?;
        let conversation =
            Conversation::parse(&object["messages"], object.get("tools")).or_input()?;
        let text = template.text(&conversation, !self.prompt).or_input()?;
        if !self.json {
            return Ok(text);
        }
        Ok(if self.prompt {
            let ids = template.prompt(tokenizer, &conversation, None).or_input()?;
            json!({"text": text, "ids": ids}).to_string()
        } else {
            let rendered = template.rendered(tokenizer, &conversation).or_input()?;
            let learned: Vec<u8> = rendered.learned.iter().map(|&it| it.into()).collect();
            json!({"text": text, "ids": rendered.ids, "learned": learned}).to_string()
        })
    }
}
