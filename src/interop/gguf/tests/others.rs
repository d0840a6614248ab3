//! Files as other programs write them: older versions, several files, other forms of the same metadata and tensors.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Checkpoint, Keys, Tensors, contents_of, rewrite as write};
use crate::interop::gguf::{
    GgmlType, GgufArray, GgufCheckpoint, GgufFile, GgufTensor, GgufValue, OutType,
};
use crate::interop::{ForeignModel, TensorSource};

/// Metadata and tensors of a fixture's file.
fn contents(fixture: &str) -> (Keys, Tensors) {
    let (_folder, path) = Checkpoint::read(fixture).written(OutType::F32);
    contents_of(&path)
}

fn set(keys: &mut Keys, key: &str, value: GgufValue) {
    keys.retain(|(other, _)| other != key);
    keys.push((key.to_owned(), value));
}

/// A file with changed keys; keys without a value are removed.
fn changed(fixture: &str, changes: &[(&str, Option<GgufValue>)]) -> TempDir {
    let (mut keys, tensors) = contents(fixture);
    for (key, value) in changes {
        match value {
            Some(value) => set(&mut keys, key, value.clone()),
            None => keys.retain(|(other, _)| other != key),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("model.gguf"), &keys, &tensors);
    folder
}

fn refusal(folder: &TempDir) -> String {
    let error = ForeignModel::open(&folder.path().join("model.gguf")).unwrap_err();
    let error = error.to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// Asserts that a file holds the same model as its fixture.
fn assert_is(path: &Path, fixture: &str) {
    let (_folder, expected) = Checkpoint::read(fixture).written(OutType::F32);
    let expected = GgufCheckpoint::open(&expected).unwrap();
    let found = GgufCheckpoint::open(path).unwrap();
    assert_eq!(found.config(), expected.config(), "{fixture}");
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(found.names()), sorted(expected.names()));
    for name in expected.names() {
        let (found, expected) = (found.tensor(&name), expected.tensor(&name));
        assert!(found.unwrap() == expected.unwrap(), "{fixture} {name}");
    }
}

#[test]
fn the_second_version_is_read_and_others_are_not() {
    let (_folder, path) = Checkpoint::read("llama_tied").written(OutType::F32);
    let mut bytes = fs::read(&path).unwrap();
    for version in [1_u32, 2, 4] {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        match version {
            2 => assert_is(&path, "llama_tied"),
            _ => {
                let error = GgufFile::open(&path).unwrap_err().to_string();
                assert!(
                    error.contains(&format!("GGUF version {version}")),
                    "{error}"
                );
            }
        }
    }
}

/// A model in three files, the second of which has one tensor.
fn split(fixture: &str) -> TempDir {
    let (keys, tensors) = contents(fixture);
    let all = GgufValue::I32(tensors.len() as i32);
    let parts = [&tensors[..2], &tensors[2..3], &tensors[3..]];
    let folder = tempfile::tempdir().unwrap();
    for (number, part) in parts.into_iter().enumerate() {
        // only the first part has the model's keys
        let mut keys = if number == 0 {
            keys.clone()
        } else {
            Keys::new()
        };
        set(&mut keys, "split.no", GgufValue::U16(number as u16));
        set(&mut keys, "split.count", GgufValue::U16(3));
        set(&mut keys, "split.tensors.count", all.clone());
        write(&folder.path().join(part_name(number)), &keys, part);
    }
    folder
}

fn part_name(number: usize) -> String {
    format!("model-{:05}-of-00003.gguf", number + 1)
}

#[test]
fn a_model_in_several_files_is_read_from_any_of_them() {
    for fixture in ["llama_tied", "deepseek_v3_plain"] {
        let folder = split(fixture);
        for number in 0..3 {
            assert_is(&folder.path().join(part_name(number)), fixture);
        }
    }
}

#[test]
fn a_model_that_lacks_one_of_its_files_says_which() {
    let open = |folder: &TempDir, number: usize| {
        let error = GgufFile::open(&folder.path().join(part_name(number)));
        error.unwrap_err().to_string()
    };
    for missing in 0..3 {
        let folder = split("llama_tied");
        fs::remove_file(folder.path().join(part_name(missing))).unwrap();
        let error = open(&folder, (missing + 1) % 3);
        let expected = format!("file {} of 3 of the model is missing", missing + 1);
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains(&part_name(missing)), "{error}");
    }
    let folder = split("llama_tied");
    let part = |number: usize| folder.path().join(part_name(number));
    fs::copy(part(1), part(2)).unwrap();
    let error = open(&folder, 0);
    assert!(error.contains("`split.no` is 1"), "{error}");
    fs::rename(part(0), folder.path().join("other.gguf")).unwrap();
    let error = GgufFile::open(&folder.path().join("other.gguf")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("`-00001-of-00003.gguf`"), "{error}");

    let (keys, tensors) = contents("llama_tied");
    for (second, expected) in [
        (&tensors[2..3], "a file with fewer"),
        (&tensors[..1], "which an earlier file of the model holds"),
    ] {
        for (number, part) in [&tensors[..2], second].into_iter().enumerate() {
            let mut keys = if number == 0 {
                keys.clone()
            } else {
                Keys::new()
            };
            set(&mut keys, "split.no", GgufValue::U16(number as u16));
            set(&mut keys, "split.count", GgufValue::U16(2));
            set(&mut keys, "split.tensors.count", GgufValue::I32(4));
            let name = format!("two-{:05}-of-00002.gguf", number + 1);
            write(&folder.path().join(name), &keys, part);
        }
        let path = folder.path().join("two-00002-of-00002.gguf");
        let error = GgufFile::open(&path).unwrap_err().to_string();
        let expected = match expected {
            "a file with fewer" => "3 tensors in 2 files, expected the 4 of `split.tensors.count`",
            other => other,
        };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_count_may_stand_there_for_every_layer() {
    let (keys, tensors) = contents("llama_tied");
    let count = |key: &str| {
        let value = keys.iter().find(|(other, _)| other == key).unwrap();
        value.1.as_u64().unwrap() as i32
    };
    let layers = count("llama.block_count") as usize;
    let names = [
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.feed_forward_length",
    ];
    let mut all = keys.clone();
    for key in names {
        let array = GgufArray::I32(vec![count(key); layers]);
        set(&mut all, key, GgufValue::Array(array));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write(&path, &all, &tensors);
    assert_is(&path, "llama_tied");
    for key in names {
        let few = GgufArray::U32(vec![4; layers - 1]);
        let mut other = vec![4; layers];
        other[0] = 2;
        let cases = [
            (
                GgufArray::I32(other),
                format!("{layers} numbers from 2 to 4"),
            ),
            (few, format!("{} numbers from 4 to 4", layers - 1)),
            (GgufArray::U32(Vec::new()), "an array".to_owned()),
            (GgufArray::I32(vec![-1; layers]), "an array".to_owned()),
        ];
        for (array, found) in cases {
            let folder = changed("llama_tied", &[(key, Some(GgufValue::Array(array)))]);
            let error = refusal(&folder);
            let expected = format!("`{key}` is {found}, expected one number, or {layers} times");
            assert!(error.contains(&expected), "{error}");
        }
    }
}

#[test]
fn a_file_without_tokenizer_says_so_as_llama_cpp_wants_it() {
    let mut source = Checkpoint::read("llama_tied");
    source.tokenizer = None;
    let (_folder, path) = source.written(OutType::F32);
    let file = GgufFile::open(&path).unwrap();
    let model = file.value("tokenizer.ggml.model").unwrap();
    assert_eq!(model.as_str(), Some("no_vocab"));
    // without a tokenizer, llama.cpp reads the number of tokens from this key
    assert!(file.value("llama.vocab_size").is_some());
    assert!(
        GgufCheckpoint::open(&path)
            .unwrap()
            .tokenizer()
            .unwrap()
            .is_none()
    );
    let none = changed(
        "llama_tied",
        &[("tokenizer.ggml.model", Some("none".into()))],
    );
    let none = GgufCheckpoint::open(&none.path().join("model.gguf")).unwrap();
    assert!(none.tokenizer().unwrap().is_none());
}

#[test]
fn keys_and_values_of_deepseek_may_come_in_one_tensor() {
    let source = Checkpoint::read("deepseek_v3_plain");
    let (mut keys, mut tensors) = contents("deepseek_v3_plain");
    let count = |key: &str| {
        let key = format!("deepseek2.attention.{key}");
        let (_, value) = keys.iter().find(|(other, _)| *other == key).unwrap();
        value.clone()
    };
    // in older files, these keys held the sizes of heads, not of the latent
    let (key, value) = (count("key_length_mla"), count("value_length_mla"));
    for layer in 0..3 {
        let name = format!("model.layers.{layer}.self_attn.kv_b_proj.weight");
        let tensor = source.tensor(&name).unwrap();
        let joined = GgufTensor {
            name: format!("blk.{layer}.attn_kv_b.weight"),
            ggml_type: GgmlType::F32,
            shape: tensor.shape.clone(),
        };
        tensors.push((joined, tensor.bytes.to_vec()));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    // files of some versions had both forms
    write(&path, &keys, &tensors);
    assert_is(&path, "deepseek_v3_plain");
    tensors.retain(|(it, _)| !it.name.contains("attn_k_b") && !it.name.contains("attn_v_b"));
    keys.retain(|(key, _)| !key.ends_with("_mla"));
    set(&mut keys, "deepseek2.attention.key_length", key);
    set(&mut keys, "deepseek2.attention.value_length", value);
    write(&path, &keys, &tensors);
    assert_is(&path, "deepseek_v3_plain");
}

#[test]
fn what_llama_cpp_computes_otherwise_is_neither_read_nor_written() {
    let deepseek = |key: &str| format!("deepseek2.rope.scaling.{key}");
    let linear = changed(
        "deepseek_v3_plain",
        &[
            (&deepseek("type"), Some("linear".into())),
            (&deepseek("factor"), Some(GgufValue::F32(4.0))),
        ],
    );
    let error = refusal(&linear);
    assert!(error.contains("(1 + 0.1 ln factor)^2"), "{error}");
    for key in ["yarn_attn_factor", "attn_factor", "yarn_ext_factor"] {
        let key = deepseek(key);
        let other = changed("deepseek_v3_yarn", &[(&key, Some(GgufValue::F32(0.5)))]);
        let error = refusal(&other);
        assert!(
            error.contains(&format!("`{key}` is 0.5, expected 1")),
            "{error}"
        );
        let one = changed("deepseek_v3_yarn", &[(&key, Some(GgufValue::F32(1.0)))]);
        assert_is(&one.path().join("model.gguf"), "deepseek_v3_yarn");
    }
    let adapter = changed("llama_tied", &[("general.type", Some("adapter".into()))]);
    let error = refusal(&adapter);
    assert!(
        error.contains("`general.type` is adapter, expected a model"),
        "{error}"
    );

    let linear = json!({"type": "linear", "factor": 4.0});
    let yarn = |factor: f64| json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": factor});
    let own = 0.1 * 4f64.ln() + 1.0;
    let cases = [
        (
            "deepseek_v3_plain",
            linear.clone(),
            Some("`rope_scaling.type` is linear"),
        ),
        ("llama_tied", linear, None),
        (
            "llama_tied",
            yarn(1.0),
            Some("`rope_scaling.attention_factor` is 1"),
        ),
        ("llama_tied", yarn(own), None),
    ];
    for (fixture, scaling, expected) in cases {
        let mut source = Checkpoint::read(fixture);
        source.config["rope_parameters"] = Value::Null;
        source.config["rope_scaling"] = scaling.clone();
        let folder = tempfile::tempdir().unwrap();
        let written = source.write(OutType::F32, &folder.path().join("model.gguf"));
        match expected {
            None => written.unwrap(),
            Some(expected) => {
                let error = written.unwrap_err().to_string();
                assert!(error.contains(expected), "{scaling}: {error}");
            }
        }
    }
}
