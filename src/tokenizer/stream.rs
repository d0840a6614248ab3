//! Ids -> text while they are generated, never half a UTF-8 character.

use super::Tokenizer;

/// Longest run of ids whose text may still be an unfinished character.
const MAX_HELD: usize = 8;

/// Incremental detokenizer, made by [`Tokenizer::stream`]. The pieces put together are the text that
/// [`Tokenizer::decode`] gives for all ids at once.
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    held: Held,
}

#[derive(Debug, Clone)]
enum Held {
    /// Byte-level tokenizers: the beginning of an unfinished character.
    Bytes(Vec<u8>),
    /// Others: the text of a token depends on its neighbors. `ids[..read]` has been given out.
    Ids { ids: Vec<u32>, read: usize },
}

impl TextStream {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        let held = if tokenizer.is_byte_level() {
            Held::Bytes(Vec::new())
        } else {
            Held::Ids {
                ids: Vec::new(),
                read: 0,
            }
        };
        Self { tokenizer, held }
    }

    /// Takes the next id; returns the text that is certain by now, if there is any.
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
                let text = now.strip_prefix(&before).unwrap_or_default().to_owned();
                // the tokens just given out stay as the context of the next ones
                if !text.is_empty() {
                    ids.drain(..*read);
                    *read = ids.len();
                }
                text
            }
        };
        (!text.is_empty()).then_some(text)
    }

    /// The rest: an unfinished character becomes U+FFFD.
    pub fn finish(self) -> String {
        match self.held {
            Held::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Held::Ids { ids, read } => {
                let before = self.tokenizer.decode(&ids[..read]);
                let all = self.tokenizer.decode(&ids);
                all.strip_prefix(&before).unwrap_or_default().to_owned()
            }
        }
    }
}

/// Moves everything but an unfinished last character out of `bytes`.
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
