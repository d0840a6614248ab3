//! Written files equal those of llama.cpp's converter, `convert_hf_to_gguf.py --outtype f32`.
//!
//! The converter was given the folder under the name `fixture`, which becomes `general.name`; ours comes from the
//! options. The only other difference is `tokenizer.ggml.model` in a file without a tokenizer: the converter was made
//! to leave it out, but llama.cpp does not load such a file.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Checkpoint, FIXTURES, contents_of, rewrite};
use crate::interop::gguf::{GgufArray, GgufFile, GgufValue, OutType};

const PAIRS: [(&str, &str); 2] = [
    ("deepseek_v3_plain", "gguf_deepseek_v3_plain"),
    ("deepseek_v3_yarn", "gguf_deepseek_v3_yarn"),
];

/// Writes a checkpoint without the key for an absent tokenizer.
fn as_converted(checkpoint: &Checkpoint, dtype: OutType) -> (TempDir, PathBuf) {
    let (folder, path) = checkpoint.written(dtype);
    let (mut keys, tensors) = contents_of(&path);
    keys.retain(|(_, value)| value.as_str() != Some("no_vocab"));
    let path = folder.path().join("as_converted.gguf");
    rewrite(&path, &keys, &tensors);
    (folder, path)
}

#[test]
fn files_are_equal_byte_for_byte() {
    for (source, golden) in PAIRS {
        let (_folder, path) = as_converted(&Checkpoint::read(source), OutType::F32);
        let expected = fs::read(Path::new(FIXTURES).join(golden).join("model.gguf")).unwrap();
        assert!(fs::read(path).unwrap() == expected, "{source}");
    }
}

#[test]
fn keys_are_those_of_the_converter() {
    for (source, golden) in PAIRS {
        let (_folder, path) = as_converted(&Checkpoint::read(source), OutType::F32);
        let file = GgufFile::open(&path).unwrap();
        let dump = dump(golden);
        let expected = dump["keys"].as_object().unwrap();
        assert_eq!(file.metadata().len(), expected.len(), "{source}");
        for (key, value) in file.metadata() {
            let expected = expected.get(key).unwrap_or_else(|| panic!("{key}"));
            assert_eq!(kind(value), expected["type"], "{key}");
            assert!(agrees(value, &expected["value"]), "{key}: {value:?}");
        }
    }
}

#[test]
fn tensors_are_those_of_the_converter() {
    for (source, golden) in PAIRS {
        let (_folder, path) = as_converted(&Checkpoint::read(source), OutType::F32);
        let file = GgufFile::open(&path).unwrap();
        let dump = dump(golden);
        let expected = dump["tensors"].as_object().unwrap();
        assert_eq!(file.tensors().len(), expected.len());
        for (name, expected) in expected {
            let (tensor, bytes) = file.tensor(name).unwrap();
            let ne: Vec<usize> = tensor.shape.iter().rev().copied().collect();
            let hash = sha256(bytes);
            assert_eq!(Value::from(ne), expected["ne"], "{name}");
            assert_eq!(tensor.ggml_type.to_string(), expected["type"], "{name}");
            assert_eq!(hash, expected["sha256"], "{name}");
        }
    }
}

#[test]
fn files_of_every_family_and_type_have_the_converters_hash() {
    for (fixture, hashes) in HASHES {
        compare(&Checkpoint::read(fixture), hashes);
    }
}

#[test]
fn files_from_bf16_have_the_converters_hash() {
    for (fixture, hashes) in BF16_HASHES {
        let mut checkpoint = Checkpoint::read(fixture);
        checkpoint.cast(OutType::Bf16, Dtype::BF16);
        compare(&checkpoint, hashes);
    }
}

fn compare(checkpoint: &Checkpoint, hashes: [&str; 4]) {
    let types = [OutType::F32, OutType::F16, OutType::Bf16, OutType::Q8_0];
    for (dtype, expected) in types.into_iter().zip(hashes) {
        let (_folder, path) = as_converted(checkpoint, dtype);
        assert_eq!(
            sha256(&fs::read(path).unwrap()),
            expected,
            "{} {dtype:?}",
            checkpoint.folder.display()
        );
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn dump(fixture: &str) -> Value {
    serde_json::from_slice(
        &fs::read(Path::new(FIXTURES).join(fixture).join("gguf_dump.json")).unwrap(),
    )
    .unwrap()
}

fn kind(value: &GgufValue) -> &'static str {
    match value {
        GgufValue::U32(_) => "UINT32",
        GgufValue::F32(_) => "FLOAT32",
        GgufValue::Bool(_) => "BOOL",
        GgufValue::String(_) => "STRING",
        GgufValue::Array(GgufArray::String(_)) => "ARRAY/STRING",
        GgufValue::Array(GgufArray::I32(_)) => "ARRAY/INT32",
        _ => "another type",
    }
}

/// Whether a value equals the dump's, which has numbers as f64, and of an array its length and first values.
fn agrees(value: &GgufValue, expected: &Value) -> bool {
    let list = |values: Vec<Value>| {
        let head = expected["head"].as_array().unwrap();
        expected["len"] == values.len() && values.starts_with(head)
    };
    match value {
        GgufValue::U32(value) => expected == value,
        GgufValue::F32(value) => *expected == f64::from(*value),
        GgufValue::Bool(value) => expected == value,
        GgufValue::String(value) => expected == value,
        GgufValue::Array(GgufArray::String(values)) => {
            list(values.iter().map(|v| v.as_str().into()).collect())
        }
        GgufValue::Array(GgufArray::I32(values)) => {
            list(values.iter().map(|&v| v.into()).collect())
        }
        _ => false,
    }
}

/// Hashes of files from the same converter, with `--model-name fixture`, `--outtype` f32, f16, bf16 and q8_0, and
/// `tokenizer.ggml.pre` set to `gpt-2`.
const HASHES: [(&str, [&str; 4]); 6] = [
    (
        "deepseek_v3_plain",
        [
            "471fd8edbb7a6d9f34a8320672516dd3a483a308c002a7df12b1abfbb0d449cf",
            "b93a85cf39f58263ac467e0a3cce1d6186e8862440e8e0e5352dc1d434017bc3",
            "584284445d2a55552c170ef1d92b2901da11d3926e7fe3849a39ea9f5dfc087a",
            "1d4fe28750cc5f885578518e1b5bb6ad4bcc2abfff01d435f0e5585842e48b0c",
        ],
    ),
    (
        "deepseek_v3_yarn",
        [
            "91998e59fbc05d506e4de352381a3330404a614b85629df59c862732995aec6d",
            "f45e212693b96671c0ee5b2b1dd0592edbdac1577076d3f0f624c02f55a218c8",
            "b59d7f5f04bf6139877dfee9e422f1a6ba5459e8f84dcf4637cc50aeda0a4150",
            "b395871b25320e72485bf4e65048e74da7acae22eeafae939f12b533b983f4ac",
        ],
    ),
    (
        "deepseek_v3_allmoe_top1",
        [
            "a7f299b42467c5239efdcad43a02a5f542523511b29e29fbaef7d477e757a9dc",
            "9b093ef7b82b33d8df5bced497ad01545e73b15cdbc99adfbfa772f980facfb5",
            "b27733aaa9a550f5e792095ce32273fcb0fe63a8fb5db09faf7165cbbd339af5",
            "6e0cabb12dad4704e8db4ae08f74a1cbd6251ceac1ca0f979bf0ae6b2384663f",
        ],
    ),
    (
        "llama_llama3rope",
        [
            "49f92dfae317041885fb762413aa11dcb65da8297c6039e66782870c918e5f08",
            "5803644c8ac9177ee29c5ca29435f04dcc96e06026f3da9fd851914f2cf7144f",
            "a439bdea4f94594f8b855cdea0888f6bc80d6542bffd40076c321229029f33b7",
            "34bae156a454887dc59839e3907dea740bdebea6b0765f05330b5fe183ee2470",
        ],
    ),
    (
        "llama_tied",
        [
            "5552b57df27c43894e6e7c234b594dff4eb478e05f1552b36488590e1d3ad1e3",
            "b52356a3711fb9062399beddadfb75402c184b134120c3aebfe3436d57f52a98",
            "2d8ced68a78baf26e48b50d5d58e8ee787bf87127809884a7b2cd97a207f5aab",
            "f76920d4abc7f26c0d90b9ffae2598a819c8ff078f14b0c88cb84c258c9d70d6",
        ],
    ),
    (
        "mixtral",
        [
            "e92ae4279752b26a2fda241a619bb7485af3c968f8aa2f115153cb081a8f190e",
            "5c528f813404b5d071c30f1551d8afb231f29e4be3402338ca53b7503b028938",
            "7d1f95e002d260cd9406adc480f032c95b3da1b26b7edd7eb908471346f454b9",
            "ac6329075f49512cd9cc4327d2d590b0ad41a60d5da9319b8e0dc17a3f1486ae",
        ],
    ),
];

/// Hashes for the fixtures with all tensors rounded to bf16.
const BF16_HASHES: [(&str, [&str; 4]); 2] = [
    (
        "deepseek_v3_plain",
        [
            "6289a54611e4c2866dba244c610b9f7f71e56847039f3b2c29eaecbcfdfc8ea6",
            "d2160a11ad5df736819575c17d5f03eb632dc8e63b832e54cf6cf80824eb9c18",
            "2180a386cd436ce07d4290078f01217666691e75d45a85bb2893656e18ac7ec1",
            "f4603e7f26eecb6ded775acef294d1ab929afbca6bae3ba901ec7e03027f6025",
        ],
    ),
    (
        "llama_tied",
        [
            "9f2c4e2921d3d8ebbb8b1ba341327d544c63938f118b94d2b94ca3f734d993f3",
            "55fd41f8b2931734a4efa915ef783ae95ed26c9419257407822056ddf0fe7fa4",
            "66be59eb4a73fddf2f27d597cda2ff32d01177259570f1659a84e3767a8447ca",
            "6730e3b3ade95be2e445fa52820e8222554eb25317390887fccab65bb114c026",
        ],
    ),
];
