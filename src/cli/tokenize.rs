//! `tokenize`: converts between texts and token ids.

use std::io::BufRead;

use clap::Args;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::cli::tokenizer_source::TokenizerSource;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis tokenize --model ./SmolLM2-135M --text \"The lamp is on.\"
  darkhorse-genesis tokenize --tokenizer ./SmolLM2-135M --bare < lines.txt
  darkhorse-genesis tokenize --model runs/mixed --decode 1,52,99

The ids of a text are those that transformers' AutoTokenizer gives, with what the tokenizer puts around it; \
but a special token written in a text is text. `inference --ids` takes them as they are printed.";

/// Print the token ids of texts, or the text of ids
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenizeArgs {
    #[command(flatten)]
    source: TokenizerSource,
    /// Text, may be given several times [default: every line of the standard input]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Vec<String>,
    /// Print the ids of the text alone, without the tokens that the tokenizer puts around it
    #[arg(long)]
    bare: bool,
    /// Print the text of these ids instead, as 1,2,3 [default: ids are printed]
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with_all = ["text", "bare"])]
    decode: Option<Vec<u32>>,
}

/// Runs the command.
pub(crate) fn execute(args: &TokenizeArgs) -> Result<(), Failure> {
    let tokenizer = args.source.open()?;
    if let Some(ids) = &args.decode {
        return output::line(tokenizer.decode(ids));
    }
    let print = |text: &str| -> Result<(), Failure> {
        let ids = if args.bare {
            tokenizer.encode(text)
        } else {
            tokenizer.encode_wrapped(text)
        };
        let ids: Vec<String> = ids.or_input()?.iter().map(u32::to_string).collect();
        output::line(ids.join(","))
    };
    if !args.text.is_empty() {
        return args.text.iter().try_for_each(|text| print(text));
    }
    for line in std::io::stdin().lock().lines() {
        print(&line?)?;
    }
    Ok(())
}
