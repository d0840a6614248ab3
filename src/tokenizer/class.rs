//! Tokenizer classes of transformers 5, and how each reads a `tokenizer.json`.
//!
//! Most classes use the file as it is. Some take only its vocabulary, merges and post-processor, and build the rest
//! themselves: normalizer, pre-tokenizer, decoder and options of the model. Two folders with equal `tokenizer.json`
//! can therefore give different ids. `tests/peers/tokenizers_of_folders.py` compares with transformers 5.23.

use serde_json::{Map, Value, json};

/// A class of transformers, named by `tokenizer_class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Uses the file as it is.
    File,
    Bert,
    CodeLlama,
    Cohere,
    Gemma,
    Gpt2,
    GptNeoX,
    Llama,
    Qwen2,
    Qwen35,
}

/// The tokenizer's properties in a model's `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelHint {
    pub(super) model_type: Option<String>,
    pub(super) tokenizer_class: Option<String>,
}

/// Classes that build their own pipeline, which is not supported.
const UNKNOWN: &str = "Albert Bart Barthez BigBird Blenderbot CLIP Camembert DPRQuestionEncoder Deberta \
    DebertaV2 Esmc FNet Funnel Herbert LED Lasr LayoutLMv2 LayoutLMv3 LayoutXLM Luke MBart \
    MBart50 MPNet MarkupLM Mvp Nllb Nougat OpenAIGPT Pegasus Reformer RemBert RoFormer \
    Roberta SeamlessM4T Siglip2 Splinter T5 Udop VideoPrism Whisper XGLM XLMRoberta XLNet";

/// Text model types for which transformers registers a class.
const REGISTERED: [(Class, &str); 8] = [
    (Class::CodeLlama, "code_llama"),
    (Class::Cohere, "cohere cohere2"),
    (
        Class::Gemma,
        "gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma zaya",
    ),
    (
        Class::Gpt2,
        "codegen dbrx gpt2 gpt_neo gptj jais2 opt phi starcoder2",
    ),
    (
        Class::GptNeoX,
        "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm",
    ),
    (Class::Qwen2, "qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next"),
    (
        Class::Qwen35,
        "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp",
    ),
    (
        Class::File,
        "arctic ernie4_5 ernie4_5_moe flex_olmo glm glm4 glm4_moe glm4_moe_lite gpt_bigcode \
        granite granitemoe granitemoehybrid granitemoeshared h2ovl_chat hyperclovax internlm2 \
        internlm3 iquestcoder jamba kimi_linear mimo_v2_flash minicpm3 minimax_m2 ministral \
        ministral3 mistral mistral3 mistral_large4 mixtral nemotron olmo2 olmo3 olmo_hybrid \
        opencua persimmon phi3 phimoe stablelm",
    ),
];

/// Model types whose published files name the wrong class; transformers takes the type's class.
const MISNAMED: &str = "arctic ernie4_5 ernie4_5_moe h2ovl_chat hyperclovax internlm2 internlm3 iquestcoder \
    jamba minicpm3 minimax_m2 nemotron phi3 phimoe qwen2 qwen3_5 qwen3_5_moe \
    qwen3_5_moe_text qwen4_exp";

const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Class {
    /// The class that `AutoTokenizer` chooses for a `tokenizer.json` with this `tokenizer_config.json`.
    pub(super) fn of(json: &[u8], config: &Map<String, Value>, model: &ModelHint) -> Self {
        let stated = config.get("tokenizer_class").and_then(Value::as_str);
        let name = stated.or(model.tokenizer_class.as_deref());
        let model_type = model.model_type.as_deref().unwrap_or_default();
        let registered = Self::registered(model_type);
        let Some(name) = name else {
            return registered.unwrap_or(Self::File);
        };
        let named = Self::named(name);
        let is_misnamed = lists(MISNAMED, model_type);
        // Llama 3's files still name the class of Llama 2
        if named == Self::Llama && !is_misnamed && has(json, b"\"ByteLevel\"") {
            return Self::File;
        }
        match registered {
            Some(Self::File) => Self::File,
            Some(registered) if is_misnamed => registered,
            _ => named,
        }
    }

    fn registered(model_type: &str) -> Option<Self> {
        let mut entries = REGISTERED.iter();
        let entry = entries.find(|(_, types)| lists(types, model_type));
        entry.map(|&(class, _)| class)
    }

    fn named(name: &str) -> Self {
        let stem = name.strip_suffix("Fast").unwrap_or(name);
        match stem.strip_suffix("Tokenizer") {
            Some("Bert") => Self::Bert,
            Some("CodeLlama") => Self::CodeLlama,
            Some("Cohere") => Self::Cohere,
            Some("Gemma") => Self::Gemma,
            Some("GPT2") => Self::Gpt2,
            Some("GPTNeoX") => Self::GptNeoX,
            Some("Llama") => Self::Llama,
            Some("Qwen2") => Self::Qwen2,
            Some("Qwen3_5") => Self::Qwen35,
            Some(other) if lists(UNKNOWN, other) => {
                tracing::warn!(
                    "`{name}` builds a tokenizer of its own, which is not known here: tokenizer.json is read as it stands"
                );
                Self::File
            }
            _ => Self::File,
        }
    }

    /// Default special tokens of the class.
    pub(super) fn special_tokens(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::File => &[],
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::CodeLlama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("prefix_token", "▁<PRE>"),
                ("middle_token", "▁<MID>"),
                ("suffix_token", "▁<SUF>"),
                ("eot_token", "▁<EOT>"),
                ("fill_token", "<FILL_ME>"),
            ],
            Self::Cohere => &[
                ("bos_token", "<BOS_TOKEN>"),
                ("eos_token", "<|END_OF_TURN_TOKEN|>"),
                ("unk_token", "<UNK>"),
                ("sep_token", "<SEP>"),
                ("pad_token", "<PAD>"),
                ("cls_token", "<CLS>"),
                ("mask_token", "<MASK_TOKEN>"),
            ],
            Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::GptNeoX => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|padding|>"),
            ],
            Self::Llama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Qwen2 | Self::Qwen35 => &[
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
        }
    }

    /// The `tokenizer.json` that the class builds from the vocabulary of `file`, without added tokens; `None` if the
    /// class uses the file as it is, or if the file has no vocabulary.
    pub(super) fn rebuilt(self, file: &Value, config: &Map<String, Value>) -> Option<Value> {
        let parts = self.parts(config)?;
        let mut model = parts.model;
        model["vocab"] = vocabulary(file)?;
        if model["type"] == "BPE" {
            let merges = file["model"].get("merges").cloned();
            model["merges"] = merges.unwrap_or_else(|| json!([]));
        }
        Some(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": file["post_processor"],
            "decoder": parts.decoder,
            "model": model,
        }))
    }

    /// Tokens before and after a text, for classes that do not take them from the file.
    pub(super) fn surroundings(self, config: &Map<String, Value>) -> Option<[Vec<String>; 2]> {
        let token = |key: &str| config.get(key).and_then(super::special::token_content);
        let list = |key: &str| token(key).map(str::to_owned).into_iter().collect();
        match self {
            Self::Bert => Some([list("cls_token"), list("sep_token")]),
            Self::CodeLlama => Some([list("bos_token"), Vec::new()]),
            Self::GptNeoX => Some([Vec::new(), Vec::new()]),
            _ => None,
        }
    }

    fn parts(self, config: &Map<String, Value>) -> Option<Parts> {
        let flag = |key: &str| config.get(key).and_then(Value::as_bool);
        let token = |key: &str| config.get(key).and_then(super::special::token_content);
        let prefix = flag("add_prefix_space");
        match self {
            Self::File => None,
            Self::Bert => Some(Parts {
                model: json!({"type": "WordPiece", "unk_token": token("unk_token"),
                    "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
                normalizer: json!({"type": "BertNormalizer", "clean_text": true,
                    "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
                    "strip_accents": flag("strip_accents"),
                    "lowercase": flag("do_lower_case").unwrap_or(true)}),
                pre_tokenizer: json!({"type": "BertPreTokenizer"}),
                decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            }),
            Self::Llama | Self::CodeLlama => {
                let prefix = prefix.unwrap_or(true);
                let is_legacy = self == Self::Llama && flag("legacy") == Some(true);
                let scheme = match (prefix, is_legacy) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                let unknown = (self == Self::CodeLlama).then(|| token("unk_token"));
                let strips = prefix || self == Self::CodeLlama;
                Some(Parts {
                    model: bpe(unknown.flatten(), true, true),
                    normalizer: Value::Null,
                    pre_tokenizer: json!({"type": "Metaspace", "replacement": "▁",
                        "prepend_scheme": scheme, "split": false}),
                    decoder: sentence_piece(strips),
                })
            }
            Self::Gemma => Some(Parts {
                model: bpe(token("unk_token"), true, true),
                normalizer: json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
                pre_tokenizer: json!({"type": "Split", "pattern": {"String": " "},
                    "behavior": "MergedWithPrevious", "invert": false}),
                decoder: sentence_piece(false),
            }),
            Self::Gpt2 | Self::GptNeoX | Self::Cohere => {
                let bytes = byte_level(prefix.unwrap_or(false), true);
                Some(Parts {
                    model: bpe(None, false, false),
                    normalizer: match self {
                        Self::Gpt2 => Value::Null,
                        _ => json!({"type": "NFC"}),
                    },
                    pre_tokenizer: match self {
                        Self::Cohere => json!({"type": "Sequence", "pretokenizers": [
                            {"type": "Digits", "individual_digits": true}, bytes]}),
                        _ => bytes,
                    },
                    decoder: byte_level(true, true),
                })
            }
            Self::Qwen2 | Self::Qwen35 => {
                let expression = match self {
                    Self::Qwen2 => QWEN_2,
                    _ => QWEN_3_5,
                };
                Some(Parts {
                    model: bpe(None, false, false),
                    normalizer: json!({"type": "NFC"}),
                    pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [
                        {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated",
                            "invert": false},
                        byte_level(prefix.unwrap_or(false), false)]}),
                    decoder: byte_level(true, true),
                })
            }
        }
    }
}

/// Components that a class builds itself.
struct Parts {
    /// The model, without vocabulary and merges.
    model: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
}

fn bpe(unk_token: Option<&str>, fuse_unk: bool, byte_fallback: bool) -> Value {
    json!({"type": "BPE", "dropout": null, "unk_token": unk_token, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": fuse_unk, "byte_fallback": byte_fallback,
        "ignore_merges": false})
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
        "use_regex": use_regex})
}

/// Decoder of tokens with `▁` in place of a space.
fn sentence_piece(strips_first_space: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if strips_first_space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// Map from tokens to ids; tokens in a list with scores are numbered in order.
fn vocabulary(file: &Value) -> Option<Value> {
    match &file["model"]["vocab"] {
        Value::Object(ids) => Some(ids.clone().into()),
        Value::Array(tokens) => {
            let text = |token: &Value| token.get(0).unwrap_or(token).as_str().map(str::to_owned);
            let ids = (0u32..)
                .zip(tokens)
                .map(|(id, token)| Some((text(token)?, id.into())));
            ids.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        _ => None,
    }
}

/// Whether `words`, separated by spaces, contain `word`.
fn lists(words: &str, word: &str) -> bool {
    words.split(' ').any(|other| other == word)
}

fn has(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = br#"{"pre_tokenizer": {"type": "ByteLevel"}}"#;

    fn class(json: &[u8], name: Option<&str>, model_type: Option<&str>) -> Class {
        let config = name.map(|name| ("tokenizer_class".to_owned(), name.into()));
        let model = ModelHint {
            model_type: model_type.map(str::to_owned),
            tokenizer_class: None,
        };
        Class::of(json, &config.into_iter().collect(), &model)
    }

    #[test]
    fn a_class_goes_by_its_name_with_or_without_fast() {
        assert_eq!(class(b"", Some("GPT2Tokenizer"), None), Class::Gpt2);
        assert_eq!(class(b"", Some("LlamaTokenizerFast"), None), Class::Llama);
        for plain in [
            "PreTrainedTokenizerFast",
            "TokenizersBackend",
            "NoSuch",
            "T5Tokenizer",
        ] {
            assert_eq!(
                class(b"", Some(plain), Some("llama")),
                Class::File,
                "{plain}"
            );
        }
        assert_eq!(class(b"", None, None), Class::File);
    }

    #[test]
    fn a_byte_level_file_is_not_rebuilt_as_llamas() {
        assert_eq!(
            class(BYTES, Some("LlamaTokenizer"), Some("llama")),
            Class::File
        );
        assert_eq!(
            class(BYTES, Some("GPT2Tokenizer"), Some("llama")),
            Class::Gpt2
        );
    }

    #[test]
    fn the_type_of_the_model_decides_where_transformers_has_a_class_for_it() {
        assert_eq!(
            class(b"", Some("LlamaTokenizer"), Some("deepseek_v3")),
            Class::Llama
        );
        assert_eq!(
            class(b"", Some("LlamaTokenizer"), Some("mixtral")),
            Class::File
        );
        assert_eq!(
            class(b"", Some("GPT2Tokenizer"), Some("qwen2")),
            Class::Qwen2
        );
        assert_eq!(
            class(b"", Some("GPT2Tokenizer"), Some("qwen3")),
            Class::Gpt2
        );
        assert_eq!(class(b"", None, Some("qwen3_next")), Class::Qwen2);
        assert_eq!(class(b"", None, Some("llama")), Class::File);
        let model = ModelHint {
            model_type: Some("llama".into()),
            tokenizer_class: Some("GPT2Tokenizer".into()),
        };
        assert_eq!(Class::of(b"", &Map::new(), &model), Class::Gpt2);
    }

    #[test]
    fn a_list_of_tokens_with_scores_becomes_ids() {
        let file = json!({"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁a", -1.5]]}});
        let rebuilt = Class::Llama.rebuilt(&file, &Map::new()).unwrap();
        assert_eq!(rebuilt["model"]["vocab"], json!({"<unk>": 0, "▁a": 1}));
        assert_eq!(rebuilt["model"]["merges"], json!([]));
        assert_eq!(Class::Llama.rebuilt(&json!({}), &Map::new()), None);
        assert_eq!(Class::File.rebuilt(&file, &Map::new()), None);
    }
}
