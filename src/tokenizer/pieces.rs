//! Encodes a long text in pieces, since the `tokenizers` crate uses about 170 bytes of memory per byte of text.
//!
//! A text is cut only where its ids stay the same, which is verified before each cut: the tokenizer's splits of the
//! text after the cut must equal those it had with the text before. Models encode each split alone, so the ids are
//! the same too. Within a split, a cut is safe if no token of the vocabulary contains the two characters at the cut
//! next to each other.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::{
    Encoding, Model, NormalizedString, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer,
};

use super::TokenizerError;

/// Limits on lengths of text, in bytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Largest text that is encoded as a whole.
    piece: usize,
    /// Largest stretch without a possible cut; longer ones are refused.
    uncut: usize,
}

const LIMITS: Limits = Limits {
    piece: 256 << 10,
    uncut: 1 << 20,
};
/// Smallest distance, in bytes, of a cut from the end of the examined text, where a split may still grow.
const MARGIN_BYTES: usize = 1 << 10;
/// Number of places tried, of each kind.
const TRIES: usize = 3;

type Inner = tokenizers::Tokenizer;

/// State for cutting texts, created when the first long text comes.
pub(super) struct Pieces {
    limits: Limits,
    rest: OnceLock<Option<Rest>>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self::within(LIMITS)
    }
}

/// The tokenizer for all pieces after the first.
struct Rest {
    /// The tokenizer without its prefix, such as a leading space.
    inner: Inner,
    /// Pairs of characters that are adjacent in a token; `None` if splits may never be cut.
    pairs: Option<HashSet<(char, char)>>,
    /// Characters that are tokens by themselves.
    known: HashSet<char>,
    /// The character that replaces a space.
    space: char,
}

/// A place at which a text may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    /// Byte offset in the text.
    at: usize,
    /// Number of whole splits before it.
    splits: usize,
    /// Bytes of the next (normalized) split before it; 0: the cut is between splits.
    part: usize,
}

/// Tokens of a piece, of which the first `count` are used.
struct Piece {
    length: usize,
    tokens: Encoding,
    count: usize,
}

impl Pieces {
    fn within(limits: Limits) -> Self {
        Self {
            limits,
            rest: OnceLock::new(),
        }
    }

    /// Token ids of a text, equal to those that `inner` gives for the whole; `json` is the tokenizer's file.
    pub(super) fn encode(
        &self,
        (inner, json): (&Inner, &str),
        text: &str,
    ) -> Result<Vec<u32>, TokenizerError> {
        if text.len() <= self.limits.piece {
            let encoding = inner.encode_fast(text, false).map_err(refused)?;
            return Ok(encoding.get_ids().to_vec());
        }
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.each((inner, json), text, |id, _| ids.push(id))?;
        Ok(ids)
    }

    /// Token ids of a text, with their byte ranges.
    pub(super) fn places(
        &self,
        (inner, json): (&Inner, &str),
        text: &str,
    ) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let mut all = Vec::new();
        self.each((inner, json), text, |id, place| all.push((id, place)))?;
        Ok(all)
    }

    /// Calls `take` for every token, with its byte range.
    fn each(
        &self,
        (inner, json): (&Inner, &str),
        text: &str,
        mut take: impl FnMut(u32, Range<usize>),
    ) -> Result<(), TokenizerError> {
        let limits = self.limits;
        let is_long = text.len() > limits.piece;
        let rest = is_long.then(|| self.rest.get_or_init(|| Rest::of(inner, json)).as_ref());
        let rest = rest.flatten();
        let mut at = 0;
        loop {
            let text = &text[at..];
            let inner = match (at, rest) {
                (1.., Some(rest)) => &rest.inner,
                _ => inner,
            };
            let cuttable = rest.filter(|_| text.len() > limits.piece);
            let cut = cuttable
                .map(|rest| rest.piece(inner, text, limits))
                .transpose()?;
            let piece = match cut.flatten() {
                Some(piece) => piece,
                None if text.len() > limits.uncut => {
                    return Err(TokenizerError::Uncut {
                        at,
                        limit: limits.uncut,
                    });
                }
                None => Piece::whole(inner, text)?,
            };
            let ids = piece.tokens.get_ids().iter();
            let tokens = ids.zip(piece.tokens.get_offsets()).take(piece.count);
            tokens.for_each(|(&id, &(start, end))| take(id, at + start..at + end));
            at += piece.length;
            if piece.length == text.len() {
                return Ok(());
            }
        }
    }
}

impl Piece {
    /// A piece that is a whole text.
    fn whole(inner: &Inner, text: &str) -> Result<Self, TokenizerError> {
        let tokens = inner.encode(text, false).map_err(refused)?;
        Ok(Self {
            length: text.len(),
            count: tokens.len(),
            tokens,
        })
    }

    /// The piece before a cut in a text with these splits.
    fn before(
        cut: Cut,
        inner: &Inner,
        mut whole: PreTokenizedString,
    ) -> Result<Self, TokenizerError> {
        let seen = Cell::new(0);
        // splits of added tokens are not passed to the function below
        let unseen = splits(&whole)[..cut.splits]
            .iter()
            .filter(|split| split.1.is_some())
            .count();
        let model = inner.get_model();
        let tokenize = |split: &NormalizedString| {
            let number = seen.replace(seen.get() + 1) + unseen;
            match number.cmp(&cut.splits) {
                Ordering::Less => model.tokenize(split.get()),
                Ordering::Equal if cut.part > 0 => model.tokenize(&split.get()[..cut.part]),
                _ => Ok(Vec::new()),
            }
        };
        whole.tokenize(tokenize).map_err(refused)?;
        let tokens = whole.into_encoding(None, 0, OffsetType::Byte);
        let tokens = tokens.map_err(refused)?;
        let end = (cut.splits + usize::from(cut.part > 0)) as u32;
        let of_piece = |word: &&Option<u32>| word.is_some_and(|word| word < end);
        Ok(Self {
            length: cut.at,
            count: tokens.get_word_ids().iter().take_while(of_piece).count(),
            tokens,
        })
    }
}

fn refused(source: super::Cause) -> TokenizerError {
    TokenizerError::Encode { source }
}

/// The splits that the tokenizer passes to its model, with the ids of added tokens.
fn split(inner: &Inner, text: &str) -> Result<PreTokenizedString, TokenizerError> {
    let added = inner.get_added_vocabulary();
    let mut split = added.extract_and_normalize(inner.get_normalizer(), text);
    if let Some(splitter) = inner.get_pre_tokenizer() {
        splitter.pre_tokenize(&mut split).map_err(refused)?;
    }
    Ok(split)
}

type Split<'a> = (&'a str, Option<Vec<u32>>);

fn splits(split: &PreTokenizedString) -> Vec<Split<'_>> {
    let all = split.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    all.into_iter()
        .map(|(text, _, tokens)| {
            let ids = tokens.as_ref();
            (text, ids.map(|ids| ids.iter().map(|it| it.id).collect()))
        })
        .collect()
}

impl Rest {
    /// `None` for a tokenizer that cannot be rebuilt.
    fn of(inner: &Inner, json: &str) -> Option<Self> {
        let mut json: Value = serde_json::from_str(json).ok()?;
        drop_prefixes(&mut json["normalizer"]);
        drop_prefixes(&mut json["pre_tokenizer"]);
        let mut rest = Inner::from_bytes(json.to_string()).ok()?;
        rest.set_encode_special_tokens(inner.get_encode_special_tokens());
        // the post-processor shifts the ranges of tokens
        rest.with_post_processor(inner.get_post_processor().cloned());

        let tokens: Vec<String> = inner.get_vocab(false).into_keys().collect();
        let known: HashSet<char> = tokens.iter().filter_map(|token| only_char(token)).collect();
        Some(Self {
            inner: rest,
            pairs: may_cut_splits(&json["model"]).then(|| {
                let pairs = tokens
                    .iter()
                    .flat_map(|it| it.chars().zip(it.chars().skip(1)));
                pairs.collect()
            }),
            space: if known.contains(&'Ġ') { 'Ġ' } else { '▁' },
            known,
        })
    }

    /// The next piece of a long text; `None` if it would be too long.
    fn piece(
        &self,
        inner: &Inner,
        text: &str,
        limits: Limits,
    ) -> Result<Option<Piece>, TokenizerError> {
        for size in [limits.piece, limits.uncut] {
            let window = &text[..text.floor_char_boundary(size)];
            let whole = split(inner, window)?;
            if let Some(cut) = self.cut(&whole, window)? {
                return Piece::before(cut, inner, whole).map(Some);
            }
        }
        Ok(None)
    }

    /// The last possible cut in `window`, the start of a long text, whose splits are `whole`.
    fn cut(&self, whole: &PreTokenizedString, window: &str) -> Result<Option<Cut>, TokenizerError> {
        let end = window.len().saturating_sub(MARGIN_BYTES);
        let starts: Vec<usize> = whole
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, _), _)| start)
            .collect();
        let starts = starts.into_iter().rev();
        let between = starts.filter(|at| (1..=end).contains(at) && window.is_char_boundary(*at));
        let chars = window
            .char_indices()
            .rev()
            .zip(window.chars().rev().skip(1));
        let within = chars
            .filter(|&((at, right), left)| at <= end && self.are_apart(left, right))
            .map(|((at, _), _)| at);

        let whole = splits(whole);
        for at in between.take(TRIES).chain(within.take(TRIES)) {
            let right = split(&self.inner, &window[at..])?;
            if let Some((splits, part)) = self.before(&whole, &splits(&right)) {
                return Ok(Some(Cut { at, splits, part }));
            }
        }
        Ok(None)
    }

    /// If `right` is the end of `whole` and a cut before it changes no ids: the number of whole splits before it, and
    /// the bytes of a split that is cut.
    fn before(&self, whole: &[Split<'_>], right: &[Split<'_>]) -> Option<(usize, usize)> {
        let (first, after) = right.split_first()?;
        let (before, end) = whole.split_at_checked(whole.len().checked_sub(right.len())?)?;
        let (found, behind) = end.split_first()?;
        if behind != after {
            return None;
        }
        if found == first {
            return (!before.is_empty()).then_some((before.len(), 0));
        }
        // the cut is within a split
        let part = found.0.strip_suffix(first.0)?;
        let (last, next) = part.chars().next_back().zip(first.0.chars().next())?;
        let is_text = found.1.is_none() && first.1.is_none();
        (is_text && self.are_apart(last, next)).then_some((before.len(), part.len()))
    }

    /// Whether no token contains these characters next to each other.
    fn are_apart(&self, left: char, right: char) -> bool {
        let Some(pairs) = &self.pairs else {
            return false;
        };
        let [left, right] = [left, right].map(|it| if it == ' ' { self.space } else { it });
        // adjacent unknown characters may be combined into one token
        self.known.contains(&left) && self.known.contains(&right) && !pairs.contains(&(left, right))
    }
}

/// The character of a token with exactly one.
fn only_char(token: &str) -> Option<char> {
    let mut chars = token.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Removes prefixes that are put before every text.
fn drop_prefixes(value: &mut Value) {
    if value["type"] == "Prepend" {
        *value = Value::Null;
        return;
    }
    for steps in ["normalizers", "pretokenizers"] {
        if let Some(steps) = value.get_mut(steps).and_then(Value::as_array_mut) {
            steps.iter_mut().for_each(drop_prefixes);
            steps.retain(|step| !step.is_null());
        }
    }
    match value["type"].as_str() {
        Some("ByteLevel") => value["add_prefix_space"] = false.into(),
        Some("Metaspace") => value["prepend_scheme"] = "never".into(),
        _ => {}
    }
}

/// Whether a split may be cut wherever no token spans the cut.
fn may_cut_splits(model: &Value) -> bool {
    let is_unset = |key: &str| {
        let value = &model[key];
        value.is_null() || value == &Value::from("") || value == &Value::from(false)
    };
    match model["type"].as_str() {
        Some("BPE") => [
            "dropout",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "ignore_merges",
        ]
        .into_iter()
        .all(is_unset),
        Some("Unigram") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
