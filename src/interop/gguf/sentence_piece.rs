//! Converts SentencePiece vocabularies, which llama.cpp calls `llama`, to a BPE for `tokenizer.json`.
//!
//! GGUF stores a score per token and no merges: two neighbours are merged if together they are a token, best scores
//! first. `tokenizer.json` needs an explicit list of these merges. It is ordered as in transformers
//! (`generate_merges`), so that ids equal those of published tokenizers. Only tokens that text can have are merged,
//! so that no text becomes a control token or a byte token.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::tokenizer::TokenType;

/// Replacement for a space.
const SPACE: &str = "▁";

/// Two tokens that merge into one.
struct Merge<'a> {
    score: f32,
    parts: [&'a str; 2],
}

impl Merge<'_> {
    fn lengths(&self) -> [usize; 2] {
        self.parts.map(|part| part.chars().count())
    }
}

/// Pairs of tokens that form a token, in merging order.
pub(super) fn merges(tokens: &[String], types: &[i32], scores: &[f32]) -> Vec<Value> {
    let in_text = |kind: i32| {
        [TokenType::Normal, TokenType::UserDefined]
            .iter()
            .any(|&it| it as i32 == kind)
    };
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .zip(types)
        .enumerate()
        .filter(|(_, (_, kind))| in_text(**kind))
        .map(|(id, (token, _))| (token.as_str(), id))
        .collect();
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        if ids.get(token.as_str()) != Some(&id) {
            continue;
        }
        let cuts = token.char_indices().skip(1);
        let cuts = cuts.map(|(at, _)| <[&str; 2]>::from(token.split_at(at)));
        let found = cuts.filter(|parts| parts.iter().all(|part| ids.contains_key(part)));
        merges.extend(found.map(|parts| Merge {
            score: scores[id],
            parts,
        }));
    }
    // the sort is stable, so equal merges stay in the order of ids
    merges.sort_by(|left, right| {
        let by_score = right.score.total_cmp(&left.score);
        by_score.then_with(|| right.lengths().cmp(&left.lengths()))
    });
    merges.iter().map(|merge| json!(merge.parts)).collect()
}

/// Replaces spaces as in the vocabulary, and puts one before the text if `prefix` is set.
pub(super) fn normalizer(prefix: bool) -> Value {
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    if !prefix {
        return spaces;
    }
    json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces]})
}

/// The inverse of [`normalizer`]; byte tokens are combined into characters.
pub(super) fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_is_merged_first_and_then_the_longest_left_part() {
        let tokens = ["a", "b", "ab", "aba", "c", "abab", "ba"].map(str::to_owned);
        let scores = [0.0, 0.0, -2.0, -1.0, 0.0, -3.0, -1.0];
        let normal = [TokenType::Normal as i32; 7];
        let expected = json!([
            ["ab", "a"],
            ["a", "ba"],
            ["b", "a"],
            ["a", "b"],
            ["aba", "b"],
            ["ab", "ab"],
        ]);
        assert_eq!(Value::from(merges(&tokens, &normal, &scores)), expected);
    }

    #[test]
    fn no_merge_makes_a_token_that_no_text_has() {
        let tokens = ["<", "s>", "<s>", "<0x0A", ">", "<0x0A>"].map(str::to_owned);
        let [normal, control] = [TokenType::Normal, TokenType::Control].map(|it| it as i32);
        let byte = 6;
        let types = [normal, normal, control, normal, normal, byte];
        assert_eq!(merges(&tokens, &types, &[0.0; 6]), Vec::<Value>::new());
    }
}
