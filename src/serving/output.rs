//! The text of one sequence as it grows: whole characters only, up to the first stop string.

use crate::inference::TokenScore;
use crate::tokenizer::TextStream;

/// Text that can be shown, with the tokens that begin in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) tokens: Vec<OutputToken>,
}

/// A generated token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OutputToken {
    pub(super) id: u32,
    /// Begin of its text in the generated text, in bytes.
    pub(super) begin: usize,
    pub(super) score: Option<TokenScore>,
}

/// Text of a sequence, of which the end may be held back.
#[derive(Debug)]
pub(super) struct Output {
    stream: Option<TextStream>,
    stops: Vec<String>,
    /// Number of bytes that were given out.
    given: usize,
    /// Text that may be the begin of a stop string.
    held: String,
    /// Tokens that begin in `held`.
    tokens: Vec<OutputToken>,
    /// The stop string that has ended the text.
    ended_by: Option<String>,
}

impl Output {
    /// An empty text that ends before any of the strings in `stops`.
    pub(super) fn new(stream: TextStream, stops: Vec<String>) -> Self {
        Self {
            stream: Some(stream),
            stops,
            given: 0,
            held: String::new(),
            tokens: Vec::new(),
            ended_by: None,
        }
    }

    /// Adds a token. Returns text that can be shown, and whether a stop string has ended the text.
    pub(super) fn push(&mut self, id: u32, score: Option<TokenScore>) -> (Option<Piece>, bool) {
        self.note(id, score);
        let text = self.stream.as_mut().and_then(|stream| stream.push(id));
        self.held.push_str(&text.unwrap_or_default());
        if let Some(begin) = self.stopped_at() {
            self.cut(begin);
            return (Some(self.take(begin)), true);
        }
        let safe = self.safe();
        let piece = (safe > 0).then(|| self.take(safe));
        (piece, false)
    }

    /// Adds a token without text, such as the one that ends the text.
    pub(super) fn note(&mut self, id: u32, score: Option<TokenScore>) {
        self.tokens.push(OutputToken {
            id,
            begin: self.given + self.held.len(),
            score,
        });
    }

    /// The rest of the text. An incomplete character becomes U+FFFD.
    pub(super) fn finish(&mut self) -> Piece {
        let rest = self.stream.take().map(TextStream::finish);
        self.held.push_str(&rest.unwrap_or_default());
        if let Some(begin) = self.stopped_at() {
            self.cut(begin);
        }
        let mut piece = self.take(self.held.len());
        piece.tokens.append(&mut self.tokens);
        piece
    }

    /// The stop string that has ended the text.
    pub(super) fn ended_by(&self) -> Option<&str> {
        self.ended_by.as_deref()
    }

    /// Begin of the stop string that was complete first; of several, the longest.
    fn stopped_at(&mut self) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let begin = self.held.find(stop.as_str())?;
            Some((begin + stop.len(), begin, stop))
        });
        let (_, begin, stop) = found.min()?;
        self.ended_by = Some(stop.clone());
        Some(begin)
    }

    /// Drops the held text from `begin` on, and the tokens that begin in it.
    fn cut(&mut self, begin: usize) {
        let end = self.given + begin;
        self.held.truncate(begin);
        self.tokens.retain(|token| token.begin < end);
    }

    /// Length of the held text that cannot be the begin of a stop string.
    fn safe(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let earliest = (self.held.len() + 1).saturating_sub(longest);
        let may_begin = |&cut: &usize| {
            let is_begin =
                |stop: &String| stop.as_bytes().starts_with(&self.held.as_bytes()[cut..]);
            self.held.is_char_boundary(cut) && self.stops.iter().any(is_begin)
        };
        let cuts = earliest..self.held.len();
        cuts.into_iter().find(may_begin).unwrap_or(self.held.len())
    }

    /// Gives out the first `len` bytes of the held text.
    fn take(&mut self, len: usize) -> Piece {
        let rest = self.held.split_off(len);
        let text = std::mem::replace(&mut self.held, rest);
        self.given += len;
        let kept = self.tokens.partition_point(|it| it.begin < self.given);
        let tokens = self.tokens.drain(..kept).collect();
        Piece { text, tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    /// Pieces of a text read byte by byte, and whether it was stopped.
    fn pieces(text: &str, stops: &[&str]) -> (Vec<String>, bool, usize) {
        let tokenizer = Tokenizer::bytes();
        let stops = stops.iter().map(|it| it.to_string()).collect();
        let mut output = Output::new(tokenizer.stream(), stops);
        let (mut pieces, mut tokens) = (Vec::new(), 0);
        for id in tokenizer.encode(text).unwrap() {
            let (piece, stopped) = output.push(id, None);
            if let Some(piece) = piece {
                tokens += piece.tokens.len();
                pieces.push(piece.text);
            }
            if stopped {
                return (pieces, true, tokens);
            }
        }
        let last = output.finish();
        tokens += last.tokens.len();
        pieces.push(last.text);
        (pieces, false, tokens)
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_shown() {
        let (shown, stopped, tokens) = pieces("one\nUser: two", &["\nUser:"]);
        assert!(stopped);
        assert_eq!(shown.concat(), "one");
        assert_eq!(tokens, 3, "tokens of the stop string are left out");
    }

    #[test]
    fn the_begin_of_a_stop_string_is_held_back_and_shown_if_it_goes_on_otherwise() {
        let (shown, stopped, tokens) = pieces("a\nUse it", &["\nUser:"]);
        assert!(!stopped);
        assert_eq!(shown.concat(), "a\nUse it");
        assert!(
            !shown.iter().any(|it| it == "\n" || it == "\nUs"),
            "{shown:?}"
        );
        assert_eq!(tokens, 8);
    }

    #[test]
    fn the_string_that_is_complete_first_ends_the_text() {
        for (text, stops, shown) in [
            ("xabc", &["abc", "b"][..], "xa"),
            ("xabc", &["abc", "bc"], "x"),
            ("aab", &["ab"], "a"),
            ("ab", &["ab"], ""),
            ("naïve é!", &["é"], "naïve "),
        ] {
            let (found, stopped, _) = pieces(text, stops);
            assert!(stopped, "{text}");
            assert_eq!(found.concat(), shown, "{text} {stops:?}");
        }
    }

    #[test]
    fn no_half_character_is_shown() {
        let (shown, _, tokens) = pieces("é😀", &[]);
        assert_eq!(shown, ["é", "😀", ""]);
        assert_eq!(tokens, 6);
        let tokenizer = Tokenizer::bytes();
        let mut output = Output::new(tokenizer.stream(), Vec::new());
        let ids = tokenizer.encode("é").unwrap();
        assert_eq!(output.push(ids[0], None), (None, false));
        assert_eq!(output.finish().text, "\u{FFFD}");
    }
}
