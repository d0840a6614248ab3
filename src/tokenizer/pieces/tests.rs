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

/// Tokenizers with the pre-tokenizers of published ones.
fn inners() -> Vec<(&'static str, Inner)> {
    let ours = trained();
    let byte_level = |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let byte = |changes: Value| with(&ours, changes);
    let spaced: Vec<(String, f64)> = [
        "<unk>", "▁", "▁one", "on", "e", "o", "n", "t", "w", ",", "1", "2", "文", "字", "▁t", "wo",
        "\n",
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
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
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
        "one", " two", "  ", "\n", "\r\n", "12", "345", "文字", "é", "e\u{301}", "'s", ",", "=",
        " ", "<|end|>", "😀", "o", "n", "\t", "\u{a0}",
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

/// Ids and byte ranges that the tokenizer gives for the uncut text.
fn uncut(inner: &Inner, text: &str) -> Vec<(u32, Range<usize>)> {
    let encoding = inner.encode(text, false).unwrap();
    let places = encoding
        .get_offsets()
        .iter()
        .map(|&(start, end)| start..end);
    encoding.get_ids().iter().copied().zip(places).collect()
}

fn json_of(inner: &Inner) -> String {
    inner.to_string(false).unwrap()
}

#[test]
fn a_cut_anywhere_in_any_text_changes_neither_ids_nor_places() {
    let mut cuts = std::collections::BTreeMap::new();
    for (name, mut inner) in inners() {
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let rest = Rest::of(&inner, &json_of(&inner)).unwrap();
        for text in texts() {
            let whole = uncut(&inner, &text);
            for size in (1500..text.len()).step_by(479) {
                let window = &text[..text.floor_char_boundary(size)];
                let splits = split(&inner, window).unwrap();
                let Some(cut) = rest.cut(&splits, window).unwrap() else {
                    continue;
                };
                let left = Piece::before(cut, &inner, splits).unwrap();
                let at = left.length;
                let ids = left.tokens.get_ids().iter().copied();
                let places = left.tokens.get_offsets().iter();
                let places = places.map(|&(start, end)| start..end);
                let mut all: Vec<_> = ids.zip(places).take(left.count).collect();
                let right = uncut(&rest.inner, &text[at..]).into_iter();
                all.extend(right.map(|(id, it)| (id, it.start + at..it.end + at)));
                assert_eq!(all, whole, "{name}, cut at {at}");
                *cuts.entry(name).or_insert(0) += 1;
            }
        }
    }
    // every tokenizer can be cut
    assert_eq!(cuts.len(), inners().len(), "{cuts:?}");
    assert!(cuts.values().all(|&count| count > 9), "{cuts:?}");
}

#[test]
fn long_texts_without_line_ends_have_the_ids_and_places_of_their_whole() {
    let mut state = 7u32;
    let mut base64 = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char::from(ALPHABET[(state >> 26) as usize])
    };
    // small limits, since the comparison encodes the whole text at once
    let limits = Limits {
        piece: 32 << 10,
        uncut: 128 << 10,
    };
    let noise: String = (0..limits.piece * 5 / 4).map(|_| base64()).collect();
    let prose = "one two, three été 文字 <|end|> ".repeat(limits.piece / 25);
    for (name, mut inner) in inners() {
        // Unigram takes minutes for so long a word
        if name == "unigram" {
            continue;
        }
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let json = json_of(&inner);
        for text in [&noise, &prose] {
            let pieces = Pieces::within(limits);
            let places = match pieces.places((&inner, &json), text) {
                // adjacent unknown characters are never separated
                Err(TokenizerError::Uncut { .. }) => continue,
                places => places.unwrap(),
            };
            assert!(places == uncut(&inner, text), "{name}");
            let ids = pieces.encode((&inner, &json), text).unwrap();
            assert!(ids.iter().eq(places.iter().map(|(id, _)| id)), "{name}");
        }
    }
}

#[test]
fn a_long_text_without_spaces_has_the_ids_of_its_whole() {
    let tokenizer = trained();
    let inner = inner(&tokenizer);
    let text: String = (0..60_000).map(|i| format!("one{}", i % 1000)).collect();
    assert!(text.len() > LIMITS.piece);
    let whole = inner.encode_fast(&*text, false).unwrap();
    assert_eq!(tokenizer.encode(&text).unwrap(), whole.get_ids());
}

#[test]
fn one_word_beyond_the_limit_is_refused_with_its_place() {
    let texts = || (0..50).map(|i| format!("two {}", "a".repeat(i)));
    let tokenizer = Tokenizer::train(texts(), 400).unwrap();
    let word = "a".repeat(LIMITS.uncut + 1);
    let error = tokenizer.encode(&format!("two {word}")).unwrap_err();
    assert!(
        matches!(error, TokenizerError::Uncut { at: 0..4, .. }),
        "{error}"
    );
    // without merges across a cut, words of any length are encoded
    let bytes = Tokenizer::bytes().encode(&word).unwrap();
    assert_eq!(bytes.len(), word.len());
}
