//! Malformed files: one clear line of error, no panic, and no memory for content that does not exist.

use std::fs;

use super::Checkpoint;
use crate::interop::TensorSource;
use crate::interop::gguf::{
    GgmlType, GgufCheckpoint, GgufFile, GgufTensor, GgufValue, GgufWriter, OutType,
};

/// The one-line error of opening these bytes.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// A file with one key and a tensor of four values, whose byte offsets the tests know.
fn small() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let tensor = GgufTensor {
        name: "t".to_owned(),
        ggml_type: GgmlType::F32,
        shape: vec![2, 2],
    };
    let mut writer = GgufWriter::create(
        &path,
        &[("key".to_owned(), GgufValue::String("text".to_owned()))],
        &[tensor],
    )
    .unwrap();
    writer.write(&[1; 16]).unwrap();
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

/// The small file with bytes replaced.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = small();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn what_is_wrong_is_said() {
    let huge = u64::MAX.to_le_bytes();
    let cases = [
        (changed(0, b"GGML"), "`GGML` at byte 0, expected `GGUF`"),
        (changed(4, &[4]), "GGUF version 4, expected version 2 or 3"),
        (
            changed(4, &[0, 0, 0, 3]),
            "big-endian GGUF, expected little-endian",
        ),
        (changed(8, &huge), "at byte"),
        (changed(16, &huge), "at byte"),
        (
            changed(24, &huge),
            "18446744073709551615 items of 1 or more bytes at byte 32 with",
        ),
        (
            changed(35, &[13]),
            "metadata key `key`: value type 13 at byte 35, expected a type from 0 to 12",
        ),
        (changed(35, &[9, 0, 0, 0, 8]), "metadata key `key`: "),
        (
            changed(39, &huge),
            "metadata key `key`: 18446744073709551615 items",
        ),
        (
            changed(47, &[0xff]),
            "metadata key `key`: a text at byte 39 that is not UTF-8, expected UTF-8",
        ),
        (
            changed(60, &[5]),
            "tensor `t` of 5 dimensions, expected 1 to 4",
        ),
        (
            changed(64, &huge),
            "tensor `t`: F32 of shape [2, 18446744073709551615], expected whole blocks",
        ),
        (
            changed(64, &[5]),
            "tensor `t` of 40 bytes at offset 0 in a file of",
        ),
        (
            changed(80, &[21]),
            "tensor `t` is IQ3_S (ggml type 21), expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS or MXFP4",
        ),
        (
            changed(84, &[1]),
            "tensor `t` at offset 1, expected a multiple of 32",
        ),
        (
            changed(84, &[32]),
            "tensor `t` of 16 bytes at offset 32 in a file of 128 bytes, expected a file that holds it",
        ),
        (
            changed(84, &(u64::MAX - 31).to_le_bytes()),
            "tensor `t` of 16 bytes at offset 18446744073709551584",
        ),
        (Vec::new(), "at byte 0 with 0 bytes left"),
    ];
    for (bytes, expected) in cases {
        let error = refusal(&bytes);
        assert!(
            error.contains("model.gguf: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn keys_and_tensors_stand_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let key = ("key".to_owned(), GgufValue::U8(1));
    GgufWriter::create(&path, &[key.clone(), key], &[])
        .unwrap()
        .finish()
        .unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("metadata key `key` twice, expected each key once"),
        "{error}"
    );
    let tensor = GgufTensor {
        name: "t".to_owned(),
        ggml_type: GgmlType::F32,
        shape: vec![1],
    };
    let mut writer = GgufWriter::create(&path, &[], &[tensor.clone(), tensor]).unwrap();
    writer.write(&[0; 4]).unwrap();
    writer.write(&[0; 4]).unwrap();
    writer.finish().unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("tensor `t` twice, expected each tensor once"),
        "{error}"
    );
}

#[test]
fn an_alignment_is_a_power_of_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    GgufWriter::create(
        &path,
        &[("general.alignment".to_owned(), GgufValue::U32(0))],
        &[],
    )
    .unwrap()
    .finish()
    .unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("`general.alignment` 0, expected a u32 power of two"),
        "{error}"
    );
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let file = small();
    // The last 16 bytes are padding after the last tensor.
    for length in 0..file.len() - 16 {
        refusal(&file[..length]);
    }
    let (_folder, path) = Checkpoint::read("deepseek_v3_yarn").written(OutType::F32);
    let file = fs::read(path).unwrap();
    for length in (0..file.len() - 32).step_by(file.len() / 200) {
        refusal(&file[..length]);
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let (_folder, path) = Checkpoint::read("deepseek_v3_yarn").written(OutType::Q8_0);
    let original = fs::read(&path).unwrap();
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut opened = 0;
    for round in 0..600 {
        let mut bytes = original.clone();
        for _ in 0..=round % 3 {
            // Only the header is changed: its numbers control how the rest is read.
            let at = random(13_000.min(bytes.len()));
            bytes[at] = [0, 0xff, 0x7f, 0x80, random(256) as u8][random(5)];
        }
        fs::write(&path, bytes).unwrap();
        let Ok(checkpoint) = GgufCheckpoint::open(&path) else {
            continue;
        };
        opened += 1;
        let _ = checkpoint.tokenizer();
        for name in checkpoint.names() {
            checkpoint.tensor(&name).unwrap();
        }
    }
    assert!(opened > 0);
}
