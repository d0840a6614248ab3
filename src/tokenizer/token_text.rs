//! The text of a single token.

use super::Tokenizer;
use super::byte_level::content_bytes;

impl Tokenizer {
    /// Whether a token is a special one, which has a name and no text.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.shared.inner.get_added_vocabulary();
        self.token(id).is_some_and(|it| added.is_special_token(&it))
    }

    /// Bytes that a token stands for by itself, which need not be whole characters; for a special token those of its
    /// name. `None` for an id without a token.
    pub fn token_text(&self, id: u32) -> Option<Vec<u8>> {
        let content = self.token(id)?;
        let added = self.shared.inner.get_added_vocabulary();
        if added.is_special_token(&content) {
            return Some(content.into_bytes());
        }
        if self.is_byte_level() {
            return Some(content_bytes(&content).into_owned());
        }
        let byte = content
            .strip_prefix("<0x")
            .and_then(|hex| hex.strip_suffix('>'))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        Some(match byte {
            Some(byte) => vec![byte],
            None => content.replace('▁', " ").into_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_be_a_part_of_a_character_or_have_a_name_alone() {
        let tokenizer = Tokenizer::bytes();
        let ids = tokenizer.encode("é ").unwrap();
        let texts = ids.iter().map(|&id| tokenizer.token_text(id));
        assert_eq!(
            texts.collect::<Vec<_>>(),
            ["é ".as_bytes()[..1].to_vec(), vec![0xA9], b" ".to_vec()].map(Some)
        );
        let end = tokenizer.eos_id().unwrap();
        let name = tokenizer.token(end).unwrap().into_bytes();
        assert_eq!(tokenizer.token_text(end), Some(name));
        assert_eq!(tokenizer.token_text(1 << 20), None);
        assert!(tokenizer.is_special(end) && !tokenizer.is_special(ids[0]));
    }
}
