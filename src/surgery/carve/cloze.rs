//! Cloze: whether greedy decoding writes the last word of a passage after the text before it.
//!
//! After LAMBADA (<https://arxiv.org/abs/1606.06031>), on passages of the user's own text. The words are scored on the
//! states that the loss of that text needs anyhow, so that no passage is read twice.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use crate::data::{PADDING, PackedBatch};
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::tokenizer::Tokenizer;

/// Least number of tokens from the beginning of a document to a word, and from one chosen word to the next.
const SPACING: usize = 32;
/// Largest number of passages.
const PASSAGES: usize = 200;
/// Characters after letters that make them part of something longer, such as `don't` or `x_1`.
const JOINED: &str = "'’-_";

/// Share of passages whose last word greedy decoding writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cloze {
    /// Number of passages.
    pub passages: usize,
    /// Share of the last words whose every token is the likeliest one at its place.
    pub accuracy: f64,
    /// Standard error; absent for a single passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<f64>,
}

impl Cloze {
    /// Share of what is right; `None` without passages.
    pub(super) fn of(right: &[bool]) -> Option<Self> {
        let passages = right.len();
        let count = right.iter().filter(|it| **it).count();
        let accuracy = count as f64 / passages as f64;
        let variance = accuracy * (1.0 - accuracy);
        (passages > 0).then_some(Self {
            passages,
            accuracy,
            stderr: (passages > 1).then(|| (variance / (passages - 1) as f64).sqrt()),
        })
    }
}

/// Held-out text, and the words in it that passages end with.
///
/// A passage begins where its document begins in a row. Words are runs of letters after white space that are whole
/// tokens; of each document the first one after every 32 tokens is taken, and of all of these at most 200, evenly.
#[derive(Debug, Clone)]
pub struct HeldOutText {
    rows: Vec<PackedBatch>,
    words: Vec<Word>,
}

/// A word that a passage ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    batch: usize,
    /// Index of its first token in the batch.
    first: usize,
    tokens: usize,
}

impl HeldOutText {
    /// Finds the words of a text that `tokenizer` encoded.
    pub fn new(rows: Vec<PackedBatch>, tokenizer: &Tokenizer) -> Self {
        let batches = rows.iter().enumerate();
        let found = batches.flat_map(|(batch, rows)| {
            let words = words(rows, tokenizer).into_iter();
            words.map(move |(first, tokens)| Word {
                batch,
                first,
                tokens,
            })
        });
        let mut words: Vec<Word> = found.collect();
        let all = words.len();
        if all > PASSAGES {
            words = (0..PASSAGES).map(|at| words[at * all / PASSAGES]).collect();
        }
        Self { rows, words }
    }

    /// The text.
    pub fn rows(&self) -> &[PackedBatch] {
        &self.rows
    }

    /// Whether the likeliest tokens are those of each chosen word of a batch. `states` are the normed ones of its
    /// tokens, `[rows * seq_len, hidden_size]`.
    pub(super) fn written<B, M, R>(
        &self,
        model: &CausalLm<B, M, R>,
        states: &Tensor<B, 2>,
        batch: usize,
    ) -> Vec<bool>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let words: Vec<&Word> = self.words.iter().filter(|it| it.batch == batch).collect();
        let places = words.iter().flat_map(|it| it.first..it.first + it.tokens);
        let before: Vec<i32> = places.clone().map(|at| at as i32 - 1).collect();
        if before.is_empty() {
            return Vec::new();
        }
        let count = before.len();
        let before = Tensor::from_data(TensorData::new(before, [count]), &states.device());
        let logits = model.logits(states.clone().select(0, before).unsqueeze());
        let likeliest = logits.argmax(2).into_data();
        let ids = &self.rows[batch].ids;
        let tokens = likeliest.iter::<i64>().zip(places);
        let mut equal = tokens.map(|(id, at)| id == i64::from(ids[at]));
        words
            .iter()
            // every token is taken, so that the next word begins at its own
            .map(|word| {
                equal
                    .by_ref()
                    .take(word.tokens)
                    .fold(true, |all, it| all & it)
            })
            .collect()
    }
}

/// First token and number of tokens of the words that passages of a batch may end with.
fn words(rows: &PackedBatch, tokenizer: &Tokenizer) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut begin = 0;
    let of_rows = rows.segments.chunks(rows.seq_len);
    for segment in of_rows.flat_map(|row| row.chunk_by(|a, b| a == b)) {
        let end = begin + segment.len();
        if segment[0] != PADDING {
            let mut stream = tokenizer.stream();
            let ids = rows.ids[begin..end].iter();
            let pieces = ids.map(|&id| stream.push(id as u32).unwrap_or_default());
            let pieces: Vec<String> = pieces.collect();
            let mut at = SPACING;
            while at < pieces.len() {
                let tokens = word(&pieces, at).filter(|tokens| {
                    let first = begin + at;
                    rows.counted[first - 1..first - 1 + tokens]
                        .iter()
                        .all(|it| *it)
                });
                if let Some(tokens) = tokens {
                    found.push((begin + at, tokens));
                }
                at += tokens.map_or(1, |_| SPACING);
            }
        }
        begin = end;
    }
    found
}

/// Number of tokens of the word that begins with the token `at`; `None` if none does, or if it may go on.
fn word(pieces: &[String], at: usize) -> Option<usize> {
    let is_letters = |text: &str| !text.is_empty() && text.chars().all(char::is_alphabetic);
    let letters = pieces[at].trim_start();
    let is_begun = letters.len() < pieces[at].len();
    if !is_letters(letters) || !(is_begun || pieces[at - 1].ends_with(char::is_whitespace)) {
        return None;
    }
    let rest = pieces[at + 1..].iter().take_while(|it| is_letters(it));
    let tokens = 1 + rest.count();
    let after = &pieces[at + tokens..];
    after.first()?;
    let next = after.iter().find_map(|piece| piece.chars().next());
    let is_joined = |next: char| next.is_alphanumeric() || JOINED.contains(next);
    (!next.is_some_and(is_joined)).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::domain::UNTAGGED;
    use crate::training::batch;

    /// Rows of texts in bytes, each a segment; rows are as long as the longest.
    fn rows(texts: &[&str]) -> (PackedBatch, Tokenizer) {
        let tokenizer = Tokenizer::bytes();
        let ids: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| tokenizer.encode(text).unwrap())
            .collect();
        let seq_len = ids.iter().map(Vec::len).max().unwrap();
        let count = seq_len * texts.len();
        let mut batch = PackedBatch {
            rows: texts.len(),
            seq_len,
            ids: vec![0; count],
            segments: vec![PADDING; count],
            positions: vec![0; count],
            tags: vec![UNTAGGED; count],
            domains: vec![0; count],
            counted: vec![false; count],
            bytes: vec![1; count],
            documents: vec![vec![0]; texts.len()],
        };
        for (row, ids) in ids.iter().enumerate() {
            for (at, &id) in ids.iter().enumerate() {
                let place = row * seq_len + at;
                batch.ids[place] = id as i32;
                batch.segments[place] = 0;
                batch.positions[place] = at as i32;
                batch.counted[place] = at + 1 < ids.len();
            }
        }
        (batch, tokenizer)
    }

    fn told(texts: &[&str]) -> Vec<String> {
        let (batch, tokenizer) = rows(texts);
        let words = words(&batch, &tokenizer).into_iter();
        let text = |(first, tokens): (usize, usize)| {
            let ids = &batch.ids[first..first + tokens];
            let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
            tokenizer.decode(&ids)
        };
        words.map(text).collect()
    }

    #[test]
    fn passages_end_with_whole_words_that_are_apart() {
        let before = "0123456789 123456789 123456789 ";
        let text = |end: &str| [before, end].concat();
        // the first words are too near to the beginning
        let first = told(&["a few words, and then these which are more"]);
        assert_eq!(first, ["are"]);
        for (end, expected) in [
            (" to the inn.", vec!["to"]),
            (" don't well-known x_1 v2 stage, to", vec!["stage"]),
            // it may go on where the row ends
            (" cut", vec![]),
            ("  1 2 3 4", vec![]),
            // a letter of two tokens
            (" été.", vec![]),
        ] {
            assert_eq!(told(&[&text(end)]), expected, "{end}");
        }
        let long = "one two three four five six seven eight nine ten ".repeat(4);
        let found = told(&[&long, &text(" to it")]);
        assert_eq!(found, ["eight", "five", "two", "nine", "six", "to"]);
    }

    #[test]
    fn words_that_the_loss_leaves_out_are_no_last_words() {
        let (mut batch, tokenizer) = rows(&["0123456789 123456789 123456789   abc def."]);
        assert_eq!(words(&batch, &tokenizer), [(33, 3)]);
        batch.counted[34] = false;
        assert_eq!(words(&batch, &tokenizer), [(37, 3)]);
    }

    #[test]
    fn at_most_200_passages_are_taken_from_all_of_the_text() {
        let long = "one two three four five six seven eight nine ten ".repeat(200);
        let (batch, tokenizer) = rows(&[&long]);
        let all = words(&batch, &tokenizer);
        assert!(all.len() > PASSAGES);
        let text = HeldOutText::new(vec![batch], &tokenizer);
        assert_eq!(text.words.len(), PASSAGES);
        let last = text.words.last().unwrap().first;
        assert!(last > all[all.len() - 3].0, "{last}");
    }

    #[test]
    fn the_standard_error_is_that_of_a_mean() {
        let found = Cloze::of(&[true, false, true, true]).unwrap();
        assert_eq!((found.passages, found.accuracy), (4, 0.75));
        assert_eq!(found.stderr, Some(0.25));
        assert_eq!(Cloze::of(&[true]).unwrap().stderr, None);
        assert_eq!(Cloze::of(&[]), None);
    }

    #[test]
    fn a_word_is_right_if_all_of_its_tokens_are_the_likeliest_ones() {
        let config = serde_json::json!({
            "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
            "max_position_embeddings": 64, "layer_types": ["gqa"], "rope": {}, "initializer_range": 0.5,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}}
        });
        let config = serde_json::from_value(config).unwrap();
        let model = CausalLm::<Selected>::init(&config, 3, &Default::default());
        let (mut rows, _) = rows(&["twelve bytes", "of two rows."]);
        let states = |rows: &PackedBatch| {
            let input = batch::sequences(rows, &Default::default());
            model.hidden(&input).states
        };
        // words of two tokens: right, wrong at the end, wrong at the beginning, right
        let words = [(2, [0, 0]), (5, [0, 1]), (8, [1, 0]), (14, [0, 0])];
        for (first, wrong) in words {
            for (at, wrong) in (first..).zip(wrong) {
                let logits = model.logits(states(&rows));
                let likeliest: Vec<i64> = logits.argmax(2).into_data().iter().collect();
                rows.ids[at] = (likeliest[at - 1] as i32 + wrong) % 300;
            }
        }
        let states = states(&rows).reshape([24, 16]);
        let words = words.map(|(first, _)| Word {
            batch: 0,
            first,
            tokens: 2,
        });
        let text = HeldOutText {
            rows: vec![rows],
            words: words.to_vec(),
        };
        assert_eq!(text.written(&model, &states, 0), [true, false, false, true]);
        assert!(text.written(&model, &states, 1).is_empty());
    }
}
