//! Decoded values of every type compared with those of the Python package `gguf`.

use std::fs::File;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{GgmlType, UNREAD};
use crate::interop::gguf::GgufFile;

const FIXTURE: &str = "tests/fixtures/gguf_blocks";

#[test]
fn numbers_of_every_type_have_the_bits_of_the_gguf_package() {
    let folder = Path::new(FIXTURE);
    let file = GgufFile::open(&folder.join("blocks.gguf")).unwrap();
    let expected = File::open(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_reader(expected).unwrap();
    for &kind in GgmlType::ALL {
        let (tensor, bytes) = file.tensor(kind.name()).unwrap();
        assert_eq!(tensor.ggml_type, kind);
        let mut numbers = Vec::new();
        kind.decode(bytes, &mut numbers);
        let first: Vec<f64> = numbers[..4].iter().map(|&it| it.into()).collect();
        let expected = &expected[kind.name()];
        assert_eq!(Value::from(first), expected["first"], "{kind}");
        let numbers = numbers.iter().flat_map(|it| it.to_le_bytes());
        let found = Sha256::digest(numbers.collect::<Vec<u8>>());
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected["sha256"], "{kind}");
    }
}

#[test]
fn a_number_is_of_one_type() {
    let read = GgmlType::ALL.iter().map(|kind| (kind.id(), kind.name()));
    let mut all: Vec<_> = read.chain(UNREAD).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup_by_key(|(id, _)| *id);
    assert_eq!(all.len(), count);
    for (id, name) in UNREAD {
        assert_eq!(GgmlType::from_id(id), None, "{name}");
        assert_eq!(
            GgmlType::unread_name(id),
            format!("{name} (ggml type {id})")
        );
    }
    assert_eq!(GgmlType::unread_name(99), "of ggml type 99");
}

#[test]
fn a_row_is_whole_blocks() {
    for &kind in GgmlType::ALL {
        let (values, bytes) = kind.block();
        assert_eq!(kind.row_bytes(3 * values), Some(3 * bytes), "{kind}");
        assert_eq!(kind.is_quantized(), values > 1);
        if kind.is_quantized() {
            assert_eq!(kind.row_bytes(3 * values + 1), None, "{kind}");
        }
    }
    assert_eq!(GgmlType::F32.row_bytes(usize::MAX), None);
}
