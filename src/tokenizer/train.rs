//! Training of a byte-level BPE (Sennrich et al., <https://arxiv.org/abs/1508.07909>; bytes as in GPT-2).
//!
//! The `tokenizers` crate has a trainer, but it breaks ties between equally frequent pairs by the order of its hash
//! maps, so that two trainings on the same text may differ. This one is deterministic.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rayon::prelude::*;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::byte_level::{base_vocabulary, byte_ids, char_to_byte, json};
use super::{TokenizerError, special};

/// Largest size of the sample, in bytes.
const SAMPLE_BYTES: usize = 64 << 20;
/// Size of the sample's pieces, in bytes.
const PIECE_BYTES: usize = 8 << 10;
/// Largest size of a piece without a space to cut at, in bytes.
const MAX_PIECE_BYTES: usize = 64 << 10;
/// Longest word, in bytes; longer ones (base64, sequences) are cut.
const MAX_WORD: usize = 128;
/// Fewest occurrences of a pair to be merged.
const MIN_COUNT: i64 = 2;

type Pair = (u32, u32);

/// A word as symbols, with its number of occurrences.
struct Word {
    symbols: Vec<u32>,
    count: i64,
}

/// Trains the tokenizer and returns its `tokenizer.json`.
pub(super) fn train(
    texts: impl Iterator<Item = String>,
    vocab_size: usize,
) -> Result<String, TokenizerError> {
    let min = special::ours().len() + 256;
    if vocab_size < min {
        return Err(TokenizerError::VocabularyTooSmall { vocab_size, min });
    }
    let sample = sample(texts, SAMPLE_BYTES);
    if sample.is_empty() {
        return Err(TokenizerError::NoText);
    }
    let words = count_words(&sample)?;
    drop(sample);
    Ok(json(&learn_merges(words, vocab_size)))
}

/// A uniform sample of pieces of the texts, chosen by hashes of their numbers, so that it depends neither on the size
/// of the documents nor on patterns in their order.
fn sample(texts: impl Iterator<Item = String>, max_bytes: usize) -> Vec<(u64, String)> {
    let mut kept: Vec<(u64, String)> = Vec::new();
    let (mut bytes, mut number, mut mask) = (0, 0u64, 0u64);
    for text in texts {
        for piece in pieces(&text, PIECE_BYTES) {
            number += 1;
            let hash = hash(number);
            if hash & mask != 0 {
                continue;
            }
            bytes += piece.len();
            kept.push((hash, piece.to_owned()));
            while bytes > max_bytes && kept.len() > 1 {
                mask = mask << 1 | 1;
                kept.retain(|(hash, _)| hash & mask == 0);
                bytes = kept.iter().map(|(_, piece)| piece.len()).sum();
            }
        }
    }
    kept
}

/// Cuts a text into pieces of at least `size` bytes, before spaces between ASCII letters so that no word is cut, and
/// anywhere after [`MAX_PIECE_BYTES`].
fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let max = rest.floor_char_boundary(MAX_PIECE_BYTES);
        let cut = rest.as_bytes()[..max]
            .windows(3)
            .skip(size.saturating_sub(1))
            .position(|w| w[0].is_ascii_alphabetic() && w[1] == b' ' && w[2].is_ascii_alphabetic())
            .map_or(max, |at| at + size.saturating_sub(1) + 1);
        let (piece, tail) = rest.split_at(cut);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

fn hash(number: u64) -> u64 {
    let hash = blake3::hash(&number.to_le_bytes());
    hash.as_bytes()
        .iter()
        .take(8)
        .fold(0, |all, &byte| all << 8 | u64::from(byte))
}

/// The distinct words of the sample, in alphabetical order.
fn count_words(sample: &[(u64, String)]) -> Result<Vec<Word>, TokenizerError> {
    let splitter = ByteLevel::new(false, false, true);
    let counts = sample
        .par_chunks(256)
        .map(|pieces| {
            let mut counts = HashMap::<String, i64>::new();
            for (_, piece) in pieces {
                let mut split = PreTokenizedString::from(piece.as_str());
                splitter
                    .pre_tokenize(&mut split)
                    .map_err(|source| TokenizerError::Encode { source })?;
                for (word, ..) in split.get_splits(OffsetReferential::Normalized, OffsetType::Byte)
                {
                    match counts.get_mut(word) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(word.to_owned(), 1)),
                    }
                }
            }
            Ok(counts)
        })
        .try_reduce(HashMap::new, |mut all, counts| {
            for (word, count) in counts {
                *all.entry(word).or_default() += count;
            }
            Ok(all)
        })?;

    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable();
    let id_of = byte_ids();
    let mut words = Vec::with_capacity(counts.len());
    for (word, count) in counts {
        let symbols: Vec<u32> = word
            .chars()
            .filter_map(char_to_byte)
            .map(|byte| id_of[byte as usize])
            .collect();
        for part in symbols.chunks(MAX_WORD) {
            words.push(Word {
                symbols: part.to_vec(),
                count,
            });
        }
    }
    Ok(words)
}

/// Repeatedly merges the most frequent pair of symbols, on ties the one with the lowest ids. Returns the merged pairs
/// in order.
fn learn_merges(mut words: Vec<Word>, vocab_size: usize) -> Vec<(String, String)> {
    let mut contents = base_vocabulary();
    let mut ids: HashMap<String, u32> = (0..).zip(&contents).map(|(i, c)| (c.clone(), i)).collect();
    let mut merges = Vec::new();
    let mut merged = HashSet::new();
    let mut counts = HashMap::<Pair, i64>::new();
    let mut places = HashMap::<Pair, Vec<u32>>::new();
    for (index, word) in (0..).zip(&words) {
        for pair in word.pairs() {
            *counts.entry(pair).or_default() += word.count;
            places.entry(pair).or_default().push(index);
        }
    }
    let mut queue: BinaryHeap<_> = counts
        .iter()
        .map(|(&p, &count)| (count, Reverse(p)))
        .collect();

    while contents.len() < vocab_size {
        let Some((count, Reverse(pair))) = queue.pop() else {
            break;
        };
        let current = counts.get(&pair).copied().unwrap_or(0);
        if current < count {
            // the entry is stale, since other merges have used up occurrences of the pair
            if current >= MIN_COUNT {
                queue.push((current, Reverse(pair)));
            }
            continue;
        }
        if count < MIN_COUNT {
            break;
        }

        let left = contents[pair.0 as usize].clone();
        let right = contents[pair.1 as usize].clone();
        let joined = format!("{left}{right}");
        // a pair may occur again after another merge re-creates one of its symbols
        if merged.insert(pair) {
            merges.push((left, right));
        }
        let id = *ids.entry(joined).or_insert_with_key(|joined| {
            contents.push(joined.clone());
            contents.len() as u32 - 1
        });

        let mut found = places.remove(&pair).unwrap_or_default();
        found.sort_unstable();
        found.dedup();
        let mut changes = HashMap::<Pair, i64>::new();
        for index in found {
            let word = &mut words[index as usize];
            for old in word.pairs() {
                *changes.entry(old).or_default() -= word.count;
            }
            word.merge(pair, id);
            for new in word.pairs() {
                *changes.entry(new).or_default() += word.count;
                if new.0 == id || new.1 == id {
                    places.entry(new).or_default().push(index);
                }
            }
        }
        for (pair, change) in changes {
            let count = counts.entry(pair).or_default();
            *count += change;
            if change > 0 {
                queue.push((*count, Reverse(pair)));
            }
        }
        counts.remove(&pair);
    }
    merges
}

impl Word {
    fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.symbols.windows(2).map(|w| (w[0], w[1]))
    }

    fn merge(&mut self, (left, right): Pair, id: u32) {
        let symbols = &mut self.symbols;
        let (mut from, mut to) = (0, 0);
        while from < symbols.len() {
            let is_pair = symbols[from] == left && symbols.get(from + 1) == Some(&right);
            symbols[to] = if is_pair { id } else { symbols[from] };
            from += 1 + usize::from(is_pair);
            to += 1;
        }
        symbols.truncate(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn texts() -> impl Iterator<Item = String> + Send {
        let words = [
            "the cat",
            "the dog",
            "a theorem of the theory",
            "naïve 😀",
            "  x = 1;\n",
        ];
        (0..400).map(move |i| format!("{} {} {i}", words[i % 5], words[i * 7 % 3]))
    }

    #[test]
    fn the_vocabulary_keeps_its_bound_and_the_text_comes_back() {
        for vocab_size in [273, 274, 300, 330] {
            let tokenizer = Tokenizer::train(texts(), vocab_size).unwrap();
            assert_eq!(tokenizer.vocab_size(), vocab_size);
            for text in [
                "the theory of cats",
                "日本語 \u{0} \r\n",
                "<|eos|> is text",
                "",
            ] {
                let ids = tokenizer.encode(text).unwrap();
                assert_eq!(tokenizer.decode(&ids), text);
            }
        }
    }

    #[test]
    fn training_stops_when_nothing_repeats() {
        let tokenizer = Tokenizer::train(["abc".to_owned()].into_iter(), 1000).unwrap();
        assert_eq!(tokenizer.vocab_size(), 273);
    }

    #[test]
    fn frequent_words_become_one_token_and_training_is_deterministic() {
        let tokenizer = Tokenizer::train(texts(), 400).unwrap();
        assert_eq!(tokenizer.encode("a the").unwrap().len(), 2);
        for _ in 0..3 {
            assert_eq!(
                Tokenizer::train(texts(), 400).unwrap().digest(),
                tokenizer.digest()
            );
        }
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first_and_ties_go_to_the_lowest_ids() {
        let id = byte_ids();
        let word = |text: &str, count| Word {
            symbols: text.bytes().map(|b| id[b as usize]).collect(),
            count,
        };
        let words = vec![word("abc", 3), word("bc", 2), word("xy", 4), word("uv", 4)];

        let merges = learn_merges(words, 277);

        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            merges,
            [
                pair("b", "c"),
                pair("u", "v"),
                pair("x", "y"),
                pair("a", "bc")
            ]
        );
    }

    #[test]
    fn no_merge_is_listed_twice() {
        let text = |i: usize| {
            format!(
                "{} ",
                ["abab", "aabb", "abaab", "bab"][i % 4].repeat(i % 7 + 1)
            )
        };
        let words = count_words(&[(0, (0..500).map(text).collect())]).unwrap();

        let merges = learn_merges(words, 330);

        let different: HashSet<_> = merges.iter().collect();
        assert_eq!(different.len(), merges.len());
    }

    #[test]
    fn the_sample_is_bounded_and_even() {
        let texts = (0..5000).map(|i| format!("{i:04}").repeat(25));

        let sample = sample(texts, 50_000);

        let bytes: usize = sample.iter().map(|(_, piece)| piece.len()).sum();
        assert!((20_000..=50_000).contains(&bytes), "{bytes}");
        let early = sample
            .iter()
            .filter(|(_, piece)| piece.as_str() < "2500")
            .count();
        let share = early as f64 / sample.len() as f64;
        assert!((0.4..0.6).contains(&share), "{share}");
    }

    #[test]
    fn too_small_a_vocabulary_and_no_text_are_errors() {
        let error = Tokenizer::train(texts(), 200).unwrap_err().to_string();
        assert!(error.contains("200") && error.contains("273"), "{error}");
        let nothing = Tokenizer::train(std::iter::repeat_n(String::new(), 3), 300);
        assert!(matches!(nothing, Err(TokenizerError::NoText)));
    }
}
