//! Token ids of prompts, as lm-evaluation-harness' `hf` model makes them.

use crate::inference::Continuation;
use crate::tokenizer::chat::python::is_space;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Encodes texts for one model.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// Token that stands before an empty context, and the text that it is written as.
    prefix: Option<(u32, String)>,
}

/// A context and its ids, which several continuations share.
#[derive(Debug, Default)]
pub(super) struct Known {
    text: String,
    ids: Vec<u32>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        let prefix = tokenizer.bos_id().or(tokenizer.eos_id());
        Self {
            tokenizer,
            prefix: prefix.map(|id| (id, tokenizer.token(id).unwrap_or_default())),
        }
    }

    /// Ids of a text, with what the tokenizer puts around texts unless the text begins with it.
    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let is_begun = self
            .prefix
            .as_ref()
            .is_some_and(|it| text.starts_with(&it.1));
        let ids = self.tokenizer.encode_markup(text)?;
        if is_begun {
            return Ok(ids);
        }
        let around = self.tokenizer.wrapping();
        Ok([&around.before[..], &ids, &around.after].concat())
    }

    /// Ids of a prompt to generate from, of which at most `longest` are kept, the last ones.
    pub(super) fn prompt(&self, text: &str, longest: usize) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text)?;
        ids.drain(..ids.len().saturating_sub(longest));
        Ok(ids)
    }

    /// Ids of a context and of its continuation. White space at the end of the context counts for the continuation,
    /// and both are encoded as one text. An empty context becomes the token that begins texts.
    pub(super) fn pair(
        &self,
        context: &str,
        continuation: &str,
        known: &mut Known,
    ) -> Result<Continuation, TokenizerError> {
        if context.is_empty() {
            let mut ids = self.tokenizer.encode_markup(continuation)?;
            let context = match &self.prefix {
                Some((prefix, _)) if ids.first() != Some(prefix) => vec![*prefix],
                _ => ids.drain(..ids.len().min(1)).collect(),
            };
            return Ok(Continuation {
                context,
                continuation: ids,
            });
        }
        let trimmed = context.trim_end_matches(is_space);
        if known.text != trimmed || known.ids.is_empty() {
            *known = Known {
                text: trimmed.into(),
                ids: self.encode(trimmed)?,
            };
        }
        let mut whole = self.encode(&[context, continuation].concat())?;
        let cut = known.ids.len().min(whole.len());
        let continuation = whole.split_off(cut);
        Ok(Continuation {
            context: known.ids.clone(),
            continuation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(tokenizer: &Tokenizer, context: &str, continuation: &str) -> [String; 2] {
        let encoder = Encoder::new(tokenizer);
        let found = encoder.pair(context, continuation, &mut Known::default());
        let Continuation {
            context,
            continuation,
        } = found.unwrap();
        let text = |ids: &[u32]| ids.iter().map(|&id| tokenizer.token(id).unwrap()).collect();
        [text(&context), text(&continuation)]
    }

    #[test]
    fn spaces_at_the_end_of_a_context_move_to_the_continuation() {
        let tokenizer = Tokenizer::bytes();
        let [bos, eos] = [tokenizer.bos_id(), tokenizer.eos_id()].map(Option::unwrap);
        let [bos, eos] = [bos, eos].map(|id| tokenizer.token(id).unwrap());
        let context = |text: &str| format!("{bos}{text}");
        assert_eq!(pair(&tokenizer, "a:", " b"), [context("a:"), "Ġb".into()]);
        assert_eq!(
            pair(&tokenizer, "a: \n", "b"),
            [context("a:"), "ĠĊb".into()]
        );
        // the context has what the tokenizer puts before texts, unless it is written there
        let begun = format!("{bos}a:");
        assert_eq!(pair(&tokenizer, &begun, " b"), [begun.clone(), "Ġb".into()]);
        assert_eq!(pair(&tokenizer, "", "ab"), [bos.clone(), "ab".into()]);
        assert_eq!(pair(&tokenizer, "", &begun), [bos.clone(), "a:".into()]);
        // control tokens in a text are tokens
        let ended = format!("x{eos}");
        assert_eq!(pair(&tokenizer, &ended, "b"), [context(&ended), "b".into()]);
    }
}
