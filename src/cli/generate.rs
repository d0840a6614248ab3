//! Streaming of generated text to the standard output.

use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::inference::{Acceptance, Generation, Sampler};
use crate::tokenizer::Tokenizer;
use darkhorse_backends::select::Selected;
use indicatif::ProgressBar;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::interrupt::Interrupt;
use crate::cli::notice;
use crate::cli::output::Output;

/// Smallest prompt, in tokens, whose reading shows a progress bar.
const LONG_PROMPT: usize = 2048;

/// Settings of a continuation: when it ends and how it is printed.
pub(crate) struct Reply<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) stop_ids: Vec<u32>,
    pub(crate) stop_text: Option<&'static str>,
    pub(crate) max_tokens: usize,
    pub(crate) begins: Begins,
    /// Stops the generation on Ctrl-C.
    pub(crate) interrupt: Option<&'a Interrupt>,
}

/// Relation of the generated text to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// The text continues the prompt; a space before its first word is printed.
    InThePrompt,
    /// The text starts anew.
    Anew,
}

/// The generated text with speed measurements.
pub(crate) struct Stats {
    pub(crate) text: String,
    read: usize,
    generated: usize,
    prefill: Duration,
    decode: Duration,
    /// Statistics of speculative decoding.
    drafts: Option<String>,
}

/// Acceptance rates of drafted tokens, by position after the next token.
fn drafts(acceptance: &Acceptance) -> String {
    let places = acceptance.accepted.iter().zip(&acceptance.drafted);
    let shares: Vec<String> = places
        .map(|(accepted, drafted)| format!("{:.0} %", 100.0 * *accepted as f64 / *drafted as f64))
        .collect();
    let passes = acceptance.drafted.first().copied().unwrap_or(0);
    format!(
        "drafts accepted {} in {passes} passes, {} passes without",
        if shares.is_empty() {
            "none".into()
        } else {
            shares.join(" / ")
        },
        acceptance.plain
    )
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        write!(
            f,
            "prefill {} tokens at {:.0} tokens/s, decode {} tokens at {:.1} tokens/s",
            self.read,
            rate(self.read, self.prefill),
            self.generated,
            rate(self.generated, self.decode)
        )?;
        match &self.drafts {
            Some(drafts) => write!(f, ", {drafts}"),
            None => Ok(()),
        }
    }
}

impl Reply<'_> {
    /// Reads `ids`, then prints text as it is generated, in whole characters. `None` if it was stopped before all ids
    /// were read.
    pub(crate) fn stream(
        &self,
        generation: &mut Generation<'_, Selected>,
        ids: &[u32],
        sampler: &Sampler,
    ) -> Result<Option<Stats>, Failure> {
        let mut out = Output::open();
        out.flush()?;
        let begin = Instant::now();
        let bar = if ids.len() > LONG_PROMPT {
            notice::bar(ids.len() as u64)
        } else {
            ProgressBar::hidden()
        };
        let read = generation.read_with(ids, |read| {
            bar.set_position(read as u64);
            if self.is_stopped() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        bar.finish_and_clear();
        if read.or_input()?.is_break() {
            return Ok(None);
        }
        let prefill = begin.elapsed();

        let mut stream = match self.begins {
            Begins::InThePrompt => self.tokenizer.stream_after(ids),
            Begins::Anew => self.tokenizer.stream(),
        };
        let mut text = String::new();
        let mut shown = 0;
        let mut generated = 0;
        let begin = Instant::now();
        while generated < self.max_tokens && !self.is_stopped() {
            let next = generation.next_token(sampler).inspect_err(|_| {
                // puts the message on its own line
                let _ = writeln!(out);
            });
            let Some(id) = next.or_input()? else {
                notice::tell("\nthe context is full");
                break;
            };
            if self.stop_ids.contains(&id) {
                break;
            }
            generated += 1;
            text.push_str(&stream.push(id).unwrap_or_default());
            if let Some(stop) = self.stop_text.and_then(|stop| text.find(stop)) {
                text.truncate(stop);
                break;
            }
            let safe = self.safe_to_show(&text).max(shown);
            out.write_all(&text.as_bytes()[shown..safe])?;
            out.flush()?;
            shown = safe;
        }
        let decode = begin.elapsed();
        if self.stop_text.is_none_or(|stop| !text.contains(stop)) {
            text.push_str(&stream.finish());
        }
        out.write_all(&text.as_bytes()[shown.min(text.len())..])?;
        out.flush()?;
        Ok(Some(Stats {
            text,
            read: ids.len(),
            generated,
            prefill,
            decode,
            drafts: generation.acceptance().map(drafts),
        }))
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.is_some_and(Interrupt::is_asked)
    }

    /// Length of the text's part that cannot be the start of the stop text.
    fn safe_to_show(&self, text: &str) -> usize {
        let Some(stop) = self.stop_text else {
            return text.len();
        };
        let begins = |&cut: &usize| text.is_char_boundary(cut) && stop.starts_with(&text[cut..]);
        let earliest = text.len().saturating_sub(stop.len());
        (earliest..text.len()).find(begins).unwrap_or(text.len())
    }
}
