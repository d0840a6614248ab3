//! Encodes a long text piece by piece: the `tokenizers` crate takes about 170 bytes of memory per byte
//! while it works.
//!
//! A text is cut only where its ids stay the same, and each cut is tried before it is made: what the
//! tokenizer gives its model for the text around a cut must be what it gives for the two sides. Models
//! look at each split alone, so the ids follow. Within a split a cut changes nothing where no token of
//! the vocabulary has the two characters beside each other.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::TokenizerError;

/// Texts up to this length are encoded whole.
const PIECE_BYTES: usize = 256 << 10;
/// A longer stretch without a cut is refused.
const UNCUT_BYTES: usize = 1 << 20;
/// How far from the end of what is looked at a cut must be: a split may still grow there.
const MARGIN_BYTES: usize = 1 << 10;
/// Places that are tried, of each kind.
const TRIES: usize = 3;

type Inner = tokenizers::Tokenizer;

/// What cutting takes beside the tokenizer; made when the first long text comes.
#[derive(Default)]
pub(super) struct Pieces(OnceLock<Option<Rest>>);

/// For all pieces but the first.
struct Rest {
    /// The tokenizer without what it puts before a text.
    inner: Inner,
    /// Characters that stand beside each other in a token; none if a split may never be cut.
    pairs: Option<HashSet<(char, char)>>,
    /// Characters that are tokens.
    known: HashSet<char>,
    /// The character that stands for a space.
    space: char,
}

impl Pieces {
    /// Ids of a text, as `inner` gives them for the whole.
    pub(super) fn encode(&self, inner: &Inner, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut all = Vec::new();
        self.each(inner, text, |inner, _, piece| {
            let encoding = inner.encode_fast(piece, false).map_err(refused)?;
            all.extend_from_slice(encoding.get_ids());
            Ok(())
        })?;
        Ok(all)
    }

    /// The same with the place of every token in the text, in bytes.
    pub(super) fn places(
        &self,
        inner: &Inner,
        text: &str,
    ) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let mut all = Vec::new();
        self.each(inner, text, |inner, at, piece| {
            let encoding = inner.encode(piece, false).map_err(refused)?;
            let places = encoding.get_offsets().iter();
            let places = places.map(|&(start, end)| at + start..at + end);
            all.extend(encoding.get_ids().iter().copied().zip(places));
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives every piece to `encode`, with its place.
    fn each(
        &self,
        inner: &Inner,
        text: &str,
        mut encode: impl FnMut(&Inner, usize, &str) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        if text.len() <= PIECE_BYTES {
            return encode(inner, 0, text);
        }
        let rest = self.0.get_or_init(|| Rest::of(inner)).as_ref();
        let mut at = 0;
        while at < text.len() {
            let inner = match (at, rest) {
                (1.., Some(rest)) => &rest.inner,
                _ => inner,
            };
            let length = next_piece(inner, rest, &text[at..])?.ok_or(TokenizerError::Uncut {
                at,
                limit: UNCUT_BYTES,
            })?;
            encode(inner, at, &text[at..at + length])?;
            at += length;
        }
        Ok(())
    }
}

fn refused(source: super::Cause) -> TokenizerError {
    TokenizerError::Encode { source }
}

/// Length of the next piece; none if it would be too long.
fn next_piece(
    inner: &Inner,
    rest: Option<&Rest>,
    text: &str,
) -> Result<Option<usize>, TokenizerError> {
    if text.len() <= PIECE_BYTES {
        return Ok(Some(text.len()));
    }
    if let Some(rest) = rest {
        for size in [PIECE_BYTES, UNCUT_BYTES] {
            if let Some(cut) = rest.cut(inner, &text[..text.floor_char_boundary(size)])? {
                return Ok(Some(cut));
            }
        }
    }
    Ok((text.len() <= UNCUT_BYTES).then_some(text.len()))
}

/// What the tokenizer gives its model for a text, split by split, with the ids of added tokens.
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
    /// None for a tokenizer that cannot be built again.
    fn of(inner: &Inner) -> Option<Self> {
        let mut json: Value = serde_json::from_str(&inner.to_string(false).ok()?).ok()?;
        drop_prefixes(&mut json["normalizer"]);
        drop_prefixes(&mut json["pre_tokenizer"]);
        let mut rest = Inner::from_bytes(json.to_string()).ok()?;
        rest.set_encode_special_tokens(inner.get_encode_special_tokens());

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
            space: match known.contains(&'Ġ') {
                true => 'Ġ',
                false => '▁',
            },
            known,
        })
    }

    /// The last place in `window`, which a long text begins with, that may be cut.
    fn cut(&self, inner: &Inner, window: &str) -> Result<Option<usize>, TokenizerError> {
        let whole = split(inner, window)?;
        let end = window.len().saturating_sub(MARGIN_BYTES);
        // a run of spaces may be split otherwise where it ends the text
        let after_space = |at: usize| window[..at].ends_with(char::is_whitespace);
        let starts: Vec<usize> = whole
            .get_splits(OffsetReferential::Original, OffsetType::Byte)
            .into_iter()
            .map(|(_, (start, _), _)| start)
            .collect();
        let between = starts.into_iter().rev().filter(|&at| {
            (1..=end).contains(&at) && window.is_char_boundary(at) && !after_space(at)
        });
        let chars = window
            .char_indices()
            .rev()
            .zip(window.chars().rev().skip(1));
        let within = chars
            .filter(|&((at, right), left)| at <= end && self.are_apart(left, right))
            .map(|((at, _), _)| at);

        let whole = splits(&whole);
        for at in between.take(TRIES).chain(within.take(TRIES)) {
            let [left, right] = [
                split(inner, &window[..at])?,
                split(&self.inner, &window[at..])?,
            ];
            if self.is_same(&whole, &splits(&left), &splits(&right)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Whether the two sides of a cut are to the model what the whole is.
    fn is_same(&self, whole: &[Split<'_>], left: &[Split<'_>], right: &[Split<'_>]) -> bool {
        if left.len() + right.len() == whole.len() {
            return left.iter().chain(right).eq(whole);
        }
        let (Some((last, before)), Some((first, after))) = (left.split_last(), right.split_first())
        else {
            return false;
        };
        let Some((begin, end)) = whole.split_at_checked(before.len()) else {
            return false;
        };
        let Some(((joined, None), end)) = end.split_first() else {
            return false;
        };
        let is_cut = joined.strip_prefix(last.0) == Some(first.0);
        let chars = last.0.chars().next_back().zip(first.0.chars().next());
        is_cut
            && last.1.is_none()
            && first.1.is_none()
            && begin == before
            && end == after
            && chars.is_some_and(|(left, right)| self.are_apart(left, right))
    }

    /// Whether no token has these characters beside each other.
    fn are_apart(&self, left: char, right: char) -> bool {
        let Some(pairs) = &self.pairs else {
            return false;
        };
        let [left, right] = [left, right].map(|it| if it == ' ' { self.space } else { it });
        // unknown ones may be put together to one token
        self.known.contains(&left) && self.known.contains(&right) && !pairs.contains(&(left, right))
    }
}

/// The character of a token that has one.
fn only_char(token: &str) -> Option<char> {
    let mut chars = token.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Takes away what is put before every text.
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

/// Whether the ids of a split are those of its parts wherever no token reaches over the cut.
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
mod tests {
    use serde_json::json;

    use super::super::Tokenizer;
    use super::*;

    fn inner(tokenizer: &Tokenizer) -> Inner {
        Inner::from_bytes(tokenizer.json()).unwrap()
    }

    fn trained() -> Tokenizer {
        let texts = || (0..50).map(|i| format!("one two, three été {i}\n  if x == 文字: 12345"));
        Tokenizer::train(texts(), 400).unwrap()
    }

    /// The tokenizer with parts of its JSON replaced.
    fn with(tokenizer: &Tokenizer, changes: Value) -> Inner {
        let mut json: Value = serde_json::from_str(tokenizer.json()).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        Inner::from_bytes(json.to_string()).unwrap()
    }

    /// Tokenizers that split in the ways of published ones.
    fn inners() -> Vec<(&'static str, Inner)> {
        let ours = trained();
        let byte_level = |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
        let qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let byte = |changes: Value| with(&ours, changes);
        let spaced: Vec<(String, f64)> = [
            "<unk>", "▁", "▁one", "on", "e", "o", "n", "t", "w", ",", "1", "2", "文", "字", "▁t",
            "wo", "\n",
        ]
        .into_iter()
        .enumerate()
        .map(|(rank, token)| (token.to_owned(), -(rank as f64)))
        .collect();
        let vocab: serde_json::Map<String, Value> = spaced
            .iter()
            .enumerate()
            .map(|(id, (token, _))| (token.clone(), id.into()))
            .collect();
        let prepend = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        let plain = |model: Value, normalizer: Value, pre_tokenizer: Value| {
            with(
                &Tokenizer::bytes(),
                json!({"model": model, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "added_tokens": [], "post_processor": null,
                "decoder": null}),
            )
        };
        let llama = json!({"type": "BPE", "vocab": vocab, "unk_token": "<unk>", "fuse_unk": true,
            "merges": [["o", "n"], ["▁", "t"], ["w", "o"]]});
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": spaced});
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
        vec![
            ("ours", inner(&ours)),
            ("no merges", inner(&Tokenizer::bytes())),
            (
                "prefix space",
                byte(json!({"pre_tokenizer": byte_level(true, true)})),
            ),
            (
                "one split",
                byte(json!({"pre_tokenizer": byte_level(false, false)})),
            ),
            (
                "qwen",
                byte(json!({"normalizer": {"type": "NFC"},
                "pre_tokenizer": sequence(vec![split(qwen), byte_level(false, false)])})),
            ),
            (
                "digits",
                byte(json!({"pre_tokenizer": sequence(vec![
                split(r"\p{N}{1,3}"), split("[一-龥]+"), byte_level(false, true)])})),
            ),
            ("llama", plain(llama.clone(), prepend, Value::Null)),
            ("metaspace", plain(llama, Value::Null, metaspace.clone())),
            (
                "unigram",
                plain(unigram, json!({"type": "NFKC"}), metaspace),
            ),
        ]
    }

    fn texts() -> Vec<String> {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let alphabet: Vec<&str> = vec![
            "one", " two", "  ", "\n", "\r\n", "12", "345", "文字", "é", "e\u{301}", "'s", ",",
            "=", " ", "<|end|>", "😀", "o", "n", "\t", "\u{a0}",
        ];
        let mut mixed = |count: usize, from: &[&str]| -> String {
            (0..count).map(|_| from[random(from.len())]).collect()
        };
        vec![
            mixed(1200, &alphabet),
            mixed(2000, &["o", "n", "e", "t", "w", "1", "2"]),
            mixed(1500, &["文", "字", ",", "文字"]),
            mixed(1500, &["one two", " one", "two "]),
            mixed(4000, &["1", "2", "3"]),
        ]
    }

    #[test]
    fn a_cut_anywhere_in_any_text_changes_no_ids() {
        let mut cuts = std::collections::BTreeMap::new();
        for (name, inner) in inners() {
            let rest = Rest::of(&inner).unwrap();
            for text in texts() {
                let ids = |inner: &Inner, text: &str| {
                    inner.encode_fast(text, false).unwrap().get_ids().to_vec()
                };
                let whole = ids(&inner, &text);
                for size in (1500..text.len()).step_by(479) {
                    let window = &text[..text.floor_char_boundary(size)];
                    let Some(at) = rest.cut(&inner, window).unwrap() else {
                        continue;
                    };
                    let cut = [ids(&inner, &text[..at]), ids(&rest.inner, &text[at..])];
                    assert_eq!(cut.concat(), whole, "{name}, cut at {at}");
                    *cuts.entry(name).or_insert(0) += 1;
                }
            }
        }
        // not one of them is refused where it could be cut
        assert_eq!(cuts.len(), inners().len(), "{cuts:?}");
        assert!(cuts.values().all(|&count| count > 9), "{cuts:?}");
    }

    #[test]
    fn a_long_text_without_spaces_has_the_ids_of_its_whole() {
        let tokenizer = trained();
        let inner = inner(&tokenizer);
        let text: String = (0..60_000).map(|i| format!("one{}", i % 1000)).collect();
        assert!(text.len() > PIECE_BYTES);
        let whole = inner.encode_fast(&*text, false).unwrap();
        assert_eq!(tokenizer.encode(&text).unwrap(), whole.get_ids());
    }

    #[test]
    fn one_word_beyond_the_limit_is_refused_with_its_place() {
        let texts = || (0..50).map(|i| format!("two {}", "a".repeat(i)));
        let tokenizer = Tokenizer::train(texts(), 400).unwrap();
        let word = "a".repeat(UNCUT_BYTES + 1);
        let error = tokenizer.encode(&format!("two {word}")).unwrap_err();
        assert!(
            matches!(error, TokenizerError::Uncut { at: 0..4, .. }),
            "{error}"
        );
        // without a merge that could reach over a cut any length will do
        let bytes = Tokenizer::bytes().encode(&word).unwrap();
        assert_eq!(bytes.len(), word.len());
    }
}
