//! Incremental decoding of ids to text, never splitting a UTF-8 character.

use super::Tokenizer;

/// Largest number of ids held back because their text may be an incomplete character.
const MAX_HELD: usize = 8;

/// Number of preceding tokens used as context, enough for any character in bytes.
const CONTEXT: usize = 8;

/// Incremental detokenizer, created by [`Tokenizer::stream`] or [`Tokenizer::stream_after`]. Its pieces add up to the
/// text that [`Tokenizer::decode`] returns for all ids at once, without the text of the preceding ids.
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    held: Held,
}

#[derive(Debug, Clone)]
enum Held {
    /// For byte-level tokenizers: the start of an incomplete character.
    Bytes(Vec<u8>),
    /// For others, whose tokens' text depends on their neighbors; the text of `ids[..read]` has been returned.
    Ids { ids: Vec<u32>, read: usize },
}

impl TextStream {
    /// A stream after the ids `before`, which decide whether the text begins with a space if spaces belong to the
    /// token after them.
    pub(super) fn new(tokenizer: Tokenizer, before: &[u32]) -> Self {
        let held = if tokenizer.is_byte_level() {
            Held::Bytes(unfinished_end(&tokenizer, before))
        } else {
            let ids = tokenizer.context(before, CONTEXT).to_vec();
            Held::Ids {
                read: ids.len(),
                ids,
            }
        };
        Self { tokenizer, held }
    }

    /// Adds an id and returns the text that is complete by now, if there is any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let text = match &mut self.held {
            Held::Bytes(bytes) => {
                self.tokenizer.append_bytes(id, bytes);
                take_complete(bytes)
            }
            Held::Ids { ids, read } => {
                ids.push(id);
                let before = self.tokenizer.decode(&ids[..*read]);
                let now = self.tokenizer.decode(ids);
                if now.ends_with(char::REPLACEMENT_CHARACTER) && ids.len() - *read < MAX_HELD {
                    return None;
                }
                let text = behind(&before, &now).to_owned();
                // the tokens just returned remain as context for the next ones
                if !text.is_empty() {
                    let kept = self.tokenizer.context(ids, ids.len() - *read).len();
                    ids.drain(..ids.len() - kept);
                    *read = ids.len();
                }
                text
            }
        };
        (!text.is_empty()).then_some(text)
    }

    /// Returns the remaining text; an incomplete character becomes U+FFFD.
    pub fn finish(self) -> String {
        match self.held {
            Held::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Held::Ids { ids, read } => {
                let before = self.tokenizer.decode(&ids[..read]);
                behind(&before, &self.tokenizer.decode(&ids)).to_owned()
            }
        }
    }
}

/// The part of `now` after the text `before`, whose last character may have been incomplete.
fn behind<'a>(before: &str, now: &'a str) -> &'a str {
    let same = before.chars().zip(now.chars()).take_while(|(a, b)| a == b);
    let end: usize = same.map(|(character, _)| character.len_utf8()).sum();
    &now[end..]
}

/// Bytes of an incomplete character at the end of `ids`.
fn unfinished_end(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &id in &ids[ids.len().saturating_sub(CONTEXT)..] {
        tokenizer.append_bytes(id, &mut bytes);
    }
    take_complete(&mut bytes);
    bytes
}

/// Moves all bytes but an incomplete last character out of `bytes`, as text.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        let is_last = taken + invalid.len() == bytes.len();
        if invalid.is_empty() || (is_last && is_unfinished(invalid)) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        taken += invalid.len();
    }
    bytes.drain(..taken);
    text
}

fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn through_stream(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<String>, String) {
        let mut stream = tokenizer.stream();
        let pieces = ids.iter().filter_map(|&id| stream.push(id)).collect();
        (pieces, stream.finish())
    }

    #[test]
    fn a_character_arrives_whole_or_not_at_all() {
        let tokenizer = Tokenizer::bytes();
        let ids = tokenizer.encode("a€😀").unwrap();
        assert_eq!(ids.len(), 1 + 3 + 4);

        let (pieces, rest) = through_stream(&tokenizer, &ids);

        assert_eq!(pieces, ["a", "€", "😀"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn pieces_put_together_equal_the_text_decoded_at_once_for_any_ids() {
        let tokenizer = Tokenizer::bytes();
        let mut state = 1u64;
        for _ in 0..200 {
            let ids: Vec<u32> = (0..40)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 33) as u32 % (tokenizer.vocab_size() as u32 + 3)
                })
                .collect();
            let (pieces, rest) = through_stream(&tokenizer, &ids);
            assert_eq!(pieces.concat() + &rest, tokenizer.decode(&ids));
        }
    }

    #[test]
    fn a_character_cut_by_the_end_becomes_one_replacement() {
        let tokenizer = Tokenizer::bytes();
        let ids = tokenizer.encode("é").unwrap();
        let (pieces, rest) = through_stream(&tokenizer, &ids[..1]);
        assert!(pieces.is_empty());
        assert_eq!(rest, "\u{FFFD}");
    }

    #[test]
    fn a_character_begun_before_is_finished() {
        let tokenizer = Tokenizer::bytes();
        let ids = tokenizer.encode("aé").unwrap();
        let mut stream = tokenizer.stream_after(&ids[..2]);
        assert_eq!(stream.push(ids[2]).as_deref(), Some("é"));
    }

    /// Tokenizers that are not byte-level and whose words include the space before them: SentencePiece-like BPE,
    /// Unigram, WordPiece.
    fn with_spaces_before_words() -> [Tokenizer; 3] {
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
            "split": false});
        let bpe = json!({
            "added_tokens": [], "pre_tokenizer": metaspace,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true,
                "vocab": {"<unk>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁": 3, "a": 4, "b": 5, "▁b": 6},
                "merges": ["▁ b"]}
        });
        let unigram = json!({
            "added_tokens": [], "pre_tokenizer": metaspace, "decoder": metaspace,
            "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", -9.0], ["▁", -3.0],
                ["a", -2.0], ["b", -2.0], ["▁b", -2.0], ["é", -3.0]]}
        });
        let word_piece = json!({
            "added_tokens": [], "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 9,
                "continuing_subword_prefix": "##",
                "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##b": 3, "é": 4, ".": 5}}
        });
        [bpe, unigram, word_piece]
            .map(|json| Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_text_after_a_prompt_keeps_the_space_between_them() {
        let text = "a é b ab b é";
        for tokenizer in with_spaces_before_words() {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
            for cut in 0..=ids.len() {
                let (before, after) = ids.split_at(cut);
                let mut stream = tokenizer.stream_after(before);
                let mut pieces: Vec<_> = after.iter().filter_map(|&id| stream.push(id)).collect();
                pieces.push(stream.finish());
                let read = tokenizer.decode(before);
                // a prompt is text, which ends with a whole character
                if !read.ends_with(char::REPLACEMENT_CHARACTER) {
                    assert_eq!(read + &pieces.concat(), text, "cut at {cut}");
                }
                assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')));
            }
        }
    }

    #[test]
    fn special_tokens_before_a_text_do_not_hide_what_is_before_them() {
        let [tokenizer, ..] = with_spaces_before_words();
        let tokenizer = tokenizer.with_special_tokens(&["<x>"]).unwrap();
        let x = tokenizer.token_id("<x>").unwrap();
        let before = [&[3, 4][..], &[x; 20]].concat();
        let mut stream = tokenizer.stream_after(&before);
        assert_eq!(stream.push(6).as_deref(), Some(" b"));
        assert_eq!(
            tokenizer.stream_after(&[x; 20]).push(6).as_deref(),
            Some("b")
        );
    }

    #[test]
    fn tokenizers_that_are_not_byte_level_stream_their_text_too() {
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true,
                "vocab": {"<unk>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁": 3, "a": 4, "b": 5}, "merges": []}
        });
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
        let ids = tokenizer.encode("a é b").unwrap();
        assert_eq!(ids, [3, 4, 3, 1, 2, 3, 5]);

        let (pieces, rest) = through_stream(&tokenizer, &ids);

        assert_eq!(pieces.concat() + &rest, "a é b");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')));
    }
}
