//! llama.cpp's names for the pre-tokenizers of `tokenizer.json`.
//!
//! llama.cpp implements the splits in its code and selects them by `tokenizer.ggml.pre`. The expressions here are
//! those of published tokenizers, compared as text; a tokenizer with one of them gets its name.

use serde_json::{Value, json};

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

const DIGIT: &str = r"\p{N}";

const DEEPSEEK_LLM: [&str; 6] = [
    r"[\r\n]",
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
    DIGIT,
];
/// Splits that llama.cpp uses if a file names none.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    GPT_2,
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// Names with their expressions, applied in sequence.
const SPLITS: [(&str, &[&str]); 7] = [
    ("gpt-2", &[GPT_2]),
    ("smollm", &[DIGIT, GPT_2]),
    ("llama-bpe", &[LLAMA_3]),
    ("qwen2", &[QWEN_2]),
    ("deepseek-v3", &DEEPSEEK_V3),
    ("deepseek-llm", &DEEPSEEK_LLM),
    ("default", &DEFAULT),
];

/// Other names of the same splits, separated by spaces.
const ALIASES: [(&str, &str); 6] = [
    (
        "smollm",
        "codeshell command-r exaone mellum2 minerva-7b refact starcoder",
    ),
    (
        "gpt-2",
        "a.x-4.0 exaone4 gigachat granite-docling jais jina-de jina-es jina-v2-de jina-v2-es \
         mellum modern-bert mpt olmo phi-2 trillion",
    ),
    ("llama-bpe", WHOLE_WORDS),
    ("llama-bpe", "chatglm-bpe dbrx glm4 smaug-bpe"),
    (
        "qwen2",
        "deepseek-r1-qwen f2llmv2 grok-2 hunyuan kormo megrez solar-open stablelm2",
    ),
    ("deepseek-v3", "hunyuan-dense hy_v4 joyai-llm"),
];

/// Names for which llama.cpp keeps words that are tokens whole, without merges, and begins every text with a token.
const WHOLE_WORDS: &str =
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 jina-v5-nano lfm2 midm-2.0 pixtral";

/// Whether llama.cpp keeps whole words and begins texts with a token for this name.
pub(super) fn takes_whole_words(name: &str) -> bool {
    WHOLE_WORDS.split_whitespace().any(|known| known == name)
}

/// The supported names, for messages.
pub(super) const SUPPORTED: &str = "the byte-level splits of gpt-2, smollm, llama-bpe, qwen2, deepseek-llm, \
    deepseek-v3 or default, without prefix space";

/// llama.cpp's name of a `pre_tokenizer`; `None` if it has none.
pub(super) fn name(pre_tokenizer: &Value) -> Option<&'static str> {
    let single = [pre_tokenizer.clone()];
    let stages = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => &single,
    };
    let (bytes, splits) = stages.split_last()?;
    if bytes["type"] != "ByteLevel" || bytes["add_prefix_space"] != false {
        return None;
    }
    let mut found: Vec<String> = splits.iter().map(expression).collect::<Option<_>>()?;
    if bytes.get("use_regex").is_none_or(|value| value == true) {
        found.push(GPT_2.to_owned());
    }
    SPLITS
        .into_iter()
        .find(|(_, expected)| found == *expected)
        .map(|(name, _)| name)
}

/// Expression of a split that keeps both matches and the text between them.
fn expression(split: &Value) -> Option<String> {
    if split["type"] == "Digits" && split["individual_digits"] == true {
        return Some(DIGIT.to_owned());
    }
    let plain =
        split["type"] == "Split" && split["behavior"] == "Isolated" && split["invert"] != true;
    let expression = split["pattern"]["Regex"].as_str().filter(|_| plain)?;
    // Some files escape line ends in the expression, some have the characters themselves.
    Some(expression.replace('\r', r"\r").replace('\n', r"\n"))
}

/// The `pre_tokenizer` with this name.
pub(super) fn from_name(name: &str) -> Option<Value> {
    let name = canonical(name);
    let (_, expressions) = SPLITS.into_iter().find(|&(known, _)| known == name)?;
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    if name == "gpt-2" {
        return Some(bytes(true));
    }
    let split = |expression: &&str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    let mut stages: Vec<Value> = expressions.iter().map(split).collect();
    stages.push(bytes(false));
    Some(json!({"type": "Sequence", "pretokenizers": stages}))
}

/// The name in [`SPLITS`] with the same splits.
fn canonical(name: &str) -> &str {
    let is_alias = |names: &str| names.split_whitespace().any(|alias| alias == name);
    let alias = ALIASES.iter().find(|(_, names)| is_alias(names));
    alias.map_or(name, |&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_by_themselves_are_smollms() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        let digits = |individual: bool| {
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": individual}, bytes]})
        };
        assert_eq!(name(&digits(true)), Some("smollm"));
        assert_eq!(name(&digits(false)), None);
        for (of, aliases) in ALIASES {
            for alias in aliases.split_whitespace() {
                assert_eq!(from_name(alias), from_name(of), "{alias}");
            }
            assert!(from_name(of).is_some(), "{of}");
        }
    }

    #[test]
    fn names_are_found_again() {
        for (known, _) in SPLITS {
            assert_eq!(name(&from_name(known).unwrap()), Some(known));
        }
        let explicit = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": GPT_2}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]});
        assert_eq!(name(&explicit), Some("gpt-2"));
    }

    #[test]
    fn line_ends_may_be_characters() {
        let mut qwen = from_name("qwen2").unwrap();
        let escaped = qwen["pretokenizers"][0]["pattern"]["Regex"]
            .as_str()
            .unwrap();
        let characters = escaped.replace(r"\r", "\r").replace(r"\n", "\n");
        qwen["pretokenizers"][0]["pattern"]["Regex"] = characters.into();
        assert_eq!(name(&qwen), Some("qwen2"));
    }

    #[test]
    fn others_have_no_name() {
        let gpt_2 = from_name("gpt-2").unwrap();
        let mut prefixed = gpt_2.clone();
        prefixed["add_prefix_space"] = true.into();
        let mut unsplit = gpt_2;
        unsplit["use_regex"] = false.into();
        let mut removed = from_name("llama-bpe").unwrap();
        removed["pretokenizers"][0]["behavior"] = "Removed".into();
        for other in [
            prefixed,
            unsplit,
            removed,
            json!({"type": "Metaspace"}),
            json!(null),
        ] {
            assert_eq!(name(&other), None, "{other}");
        }
    }
}
