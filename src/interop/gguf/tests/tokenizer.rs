//! Conversion of tokenizers in both directions.

use serde_json::{Value, json};

use super::Checkpoint;
use crate::interop::InteropError;
use crate::interop::gguf::{
    GgufArray, GgufCheckpoint, GgufFile, GgufValue, OutType, pre_tokenizer,
};

/// The yarn fixture with a changed tokenizer.
fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Checkpoint {
    let mut checkpoint = Checkpoint::read("deepseek_v3_yarn");
    let files = checkpoint.tokenizer.as_mut().unwrap();
    let mut config = files.config.take().unwrap();
    change(&mut files.tokenizer, &mut config);
    files.config = Some(config);
    checkpoint
}

fn tokenizer_keys(file: &GgufFile) -> Vec<(String, GgufValue)> {
    file.metadata()
        .iter()
        .filter(|(key, _)| key.starts_with("tokenizer."))
        .cloned()
        .collect()
}

fn refusal(checkpoint: &Checkpoint) -> String {
    let folder = tempfile::tempdir().unwrap();
    let result: Result<(), InteropError> =
        checkpoint.write(OutType::F32, &folder.path().join("model.gguf"));
    result.unwrap_err().to_string()
}

#[test]
fn what_is_read_back_gives_the_same_keys() {
    let llama = |tokenizer: &mut Value, config: &mut Value| {
        tokenizer["pre_tokenizer"] = pre_tokenizer::from_name("llama-bpe").unwrap();
        tokenizer["post_processor"] = json!({"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ], "pair": []});
        config["add_bos_token"] = true.into();
        config["add_eos_token"] = Value::Null;
    };
    for (checkpoint, added) in [(changed(|_, _| {}), false), (changed(llama), true)] {
        let (_folder, path) = checkpoint.written(OutType::F32);
        let restored = GgufCheckpoint::open(&path).unwrap();
        let first = tokenizer_keys(restored.file());
        let mut again = Checkpoint::read("deepseek_v3_yarn");
        again.tokenizer = restored.tokenizer().unwrap();
        let (_folder, path) = again.written(OutType::F32);
        let mut second = tokenizer_keys(&GgufFile::open(&path).unwrap());
        // A missing flag is written as false after reading, and the template for pairs adds no separator.
        second.retain(|(key, value)| {
            first.iter().any(|(known, _)| known == key) || *value != GgufValue::Bool(false)
        });
        assert_eq!(first, second);
        let bos = second
            .iter()
            .find(|(key, _)| key == "tokenizer.ggml.add_bos_token");
        assert_eq!(bos.unwrap().1, GgufValue::Bool(added));
    }
}

#[test]
fn what_is_read_back_is_the_tokenizer() {
    let checkpoint = Checkpoint::read("deepseek_v3_yarn");
    let expected = checkpoint.tokenizer.clone().unwrap();
    let (_folder, path) = checkpoint.written(OutType::F32);
    let found = GgufCheckpoint::open(&path)
        .unwrap()
        .tokenizer()
        .unwrap()
        .unwrap();
    for key in ["model", "added_tokens", "pre_tokenizer", "normalizer"] {
        assert_eq!(found.tokenizer[key], expected.tokenizer[key], "{key}");
    }
    for key in [
        "bos_token",
        "eos_token",
        "pad_token",
        "add_bos_token",
        "add_eos_token",
        "chat_template",
    ] {
        assert_eq!(
            found.config.as_ref().unwrap()[key],
            expected.config.as_ref().unwrap()[key],
            "{key}"
        );
    }
}

#[test]
fn both_spellings_of_merges_are_one() {
    let texts = changed(|tokenizer, _| {
        for merge in tokenizer["model"]["merges"].as_array_mut().unwrap() {
            *merge = format!(
                "{} {}",
                merge[0].as_str().unwrap(),
                merge[1].as_str().unwrap()
            )
            .into();
        }
    });
    let (_folder, path) = texts.written(OutType::F32);
    let (_other_folder, other) = Checkpoint::read("deepseek_v3_yarn").written(OutType::F32);
    assert_eq!(
        tokenizer_keys(&GgufFile::open(&path).unwrap()),
        tokenizer_keys(&GgufFile::open(&other).unwrap())
    );
}

#[test]
fn kinds_of_tokens() {
    let checkpoint = changed(|tokenizer, _| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocab.retain(|_, id| id.as_u64().unwrap() < 315);
        let added = tokenizer["added_tokens"].as_array_mut().unwrap();
        added.push(json!({"id": 316, "content": "▁▁", "special": false}));
        added.push(json!({"id": 317, "content": "<|tool|>", "special": false}));
    });
    let (_folder, path) = checkpoint.written(OutType::F32);
    let file = GgufFile::open(&path).unwrap();
    let Some(GgufValue::Array(GgufArray::String(tokens))) = file.value("tokenizer.ggml.tokens")
    else {
        panic!()
    };
    let Some(GgufValue::Array(GgufArray::I32(types))) = file.value("tokenizer.ggml.token_type")
    else {
        panic!()
    };
    assert_eq!(
        tokens[315..],
        ["[PAD315]", "  ", "<|tool|>", "[PAD318]", "[PAD319]"]
    );
    assert_eq!(types[314..], [1, 5, 4, 3, 5, 5]);
    let restored = GgufCheckpoint::open(&path)
        .unwrap()
        .tokenizer()
        .unwrap()
        .unwrap();
    let vocab = restored.tokenizer["model"]["vocab"].as_object().unwrap();
    assert_eq!((vocab.len(), vocab.get("[PAD315]")), (317, None));
}

#[test]
fn several_chat_templates_and_one_beside() {
    let mut named = changed(|_, config| {
        config["chat_template"] =
            json!([{"name": "default", "template": "a"}, {"name": "tool use", "template": "b"}]);
    });
    named.tokenizer.as_mut().unwrap().chat_template = None;
    let mut beside = changed(|_, config| config["chat_template"] = Value::Null);
    beside.tokenizer.as_mut().unwrap().chat_template = Some("c".to_owned());
    for (checkpoint, expected) in [
        (named, vec![("", "a"), (".tool_use", "b")]),
        (beside, vec![("", "c")]),
    ] {
        let (_folder, path) = checkpoint.written(OutType::F32);
        let file = GgufFile::open(&path).unwrap();
        for (name, template) in expected {
            assert_eq!(
                file.value(&format!("tokenizer.chat_template{name}")),
                Some(&template.into())
            );
        }
    }
}

#[test]
fn ids_come_from_the_tokenizer_before_the_model() {
    let mut checkpoint = changed(|_, config| {
        config["eos_token"] = json!({"content": "<|im_end|>"});
        config["pad_token"] = Value::Null;
    });
    checkpoint.config["pad_token_id"] = 2.into();
    let (_folder, path) = checkpoint.written(OutType::F32);
    let file = GgufFile::open(&path).unwrap();
    for (key, id) in [("bos", 0), ("eos", 3), ("padding", 2)] {
        assert_eq!(
            file.value(&format!("tokenizer.ggml.{key}_token_id")),
            Some(&GgufValue::U32(id)),
            "{key}"
        );
    }
}

#[test]
fn further_ends_of_a_text_have_keys_of_their_own_and_are_read_back() {
    let mut checkpoint = changed(|_, config| config["eos_token"] = "<|im_end|>".into());
    checkpoint.config["eos_token_id"] = json!([1, 3, 2]);
    let (_folder, path) = checkpoint.written(OutType::F32);
    let file = GgufFile::open(&path).unwrap();
    for (key, id) in [("eos", 3), ("eot", 1), ("eom", 2)] {
        assert_eq!(
            file.value(&format!("tokenizer.ggml.{key}_token_id")),
            Some(&GgufValue::U32(id)),
            "{key}"
        );
    }
    let read = crate::interop::gguf::GgufCheckpoint::open(&path).unwrap();
    assert_eq!(read.config().token_ids.eos, [3, 1, 2]);
}

#[test]
fn a_token_that_only_the_post_processor_names_is_the_beginning() {
    let template = |names: &[&str]| {
        let special = |name: &&str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let mut single: Vec<Value> = names.iter().map(special).collect();
        single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
        json!({"type": "TemplateProcessing", "single": single})
    };
    // GGUF can state a single token before a text
    let two = &["<|im_start|>", "<|im_end|>"][..];
    for (names, added, bos) in [(&["<|im_start|>"][..], true, 2), (two, false, 0)] {
        let checkpoint = changed(|tokenizer, config| {
            tokenizer["post_processor"] = template(names);
            config["bos_token"] = Value::Null;
        });
        let (_folder, path) = checkpoint.written(OutType::F32);
        let file = GgufFile::open(&path).unwrap();
        for (key, value) in [
            ("add_bos_token", GgufValue::Bool(added)),
            ("bos_token_id", GgufValue::U32(bos)),
        ] {
            assert_eq!(
                file.value(&format!("tokenizer.ggml.{key}")),
                Some(&value),
                "{names:?}"
            );
        }
    }
}

#[test]
fn the_post_processor_goes_before_the_configuration() {
    let byte_level = changed(|_, config| config["add_bos_token"] = true.into());
    let nothing = changed(|tokenizer, config| {
        tokenizer["post_processor"] = Value::Null;
        config["add_bos_token"] = true.into();
    });
    for (checkpoint, added) in [(byte_level, false), (nothing, true)] {
        let (_folder, path) = checkpoint.written(OutType::F32);
        let file = GgufFile::open(&path).unwrap();
        assert_eq!(
            file.value("tokenizer.ggml.add_bos_token"),
            Some(&GgufValue::Bool(added))
        );
    }
}

#[test]
fn other_tokenizers_are_refused() {
    let cases: [(Checkpoint, &str); 8] = [
        (
            changed(|tokenizer, _| tokenizer["pre_tokenizer"] = json!({"type": "Metaspace"})),
            "`pre_tokenizer` is one that llama.cpp is not known to have, expected the byte-level splits of gpt-2, smollm, llama-bpe",
        ),
        (
            changed(|tokenizer, _| tokenizer["model"]["type"] = "Unigram".into()),
            "`model.type` is Unigram, expected BPE",
        ),
        (
            changed(|tokenizer, _| tokenizer["model"]["byte_fallback"] = true.into()),
            "`model.byte_fallback` is true",
        ),
        (
            changed(|tokenizer, _| tokenizer["normalizer"] = json!({"type": "Lowercase"})),
            "`normalizer` is \"Lowercase\"",
        ),
        (
            changed(|tokenizer, _| tokenizer["model"]["merges"][0] = 1.into()),
            "`model.merges` is 1, expected \"left right\"",
        ),
        (
            changed(|tokenizer, _| tokenizer["model"]["vocab"]["new"] = 320.into()),
            "`model.vocab` is 320 for \"new\", expected an id below the vocab_size 320",
        ),
        (
            changed(|tokenizer, _| tokenizer["post_processor"] = json!({"type": "BertProcessing"})),
            "`post_processor.type` is BertProcessing",
        ),
        (
            changed(|tokenizer, _| {
                tokenizer["post_processor"] = json!({"type": "TemplateProcessing", "single": [
                    {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                ]});
            }),
            "`post_processor.single` is \"<|im_start|>\" at an end, expected the bos_token of tokenizer_config.json",
        ),
    ];
    for (checkpoint, expected) in cases {
        let error = refusal(&checkpoint);
        assert!(
            error.contains("tokenizer.json: ") && error.contains(expected),
            "{error}"
        );
    }
}
