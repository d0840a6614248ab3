//! Sets every key of a configuration in turn to invalid values, with all other keys unchanged.

use std::fs;

use serde_json::{Value, json};

use super::mutation::Kind;
use crate::interop::genesis::CONFIG_KEY;
use crate::interop::gguf::{GgufArray, GgufFile, GgufValue, GgufWriter};

/// Values that each key is set to, as JSON text. Strings are longer than an error should quote.
const VALUES: [&str; 9] = [
    "0",
    "1",
    "-1",
    "1048576",
    "2147483648",
    "4611686018427387904",
    "1e-300",
    "NaN",
    "\"LONG\"",
];

/// Placeholder for the value until the text is written.
const MARK: &str = "\u{1}";

/// A file with one changed key, and a description of the change.
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Variants of a file: every key, nested ones included, with every value.
pub(super) fn variants(seed: &[u8], kind: Kind) -> Vec<Variant> {
    let text = match kind {
        Kind::Json => String::from_utf8(seed.to_vec()).unwrap(),
        Kind::Safetensors => {
            let (_, metadata) = safetensors::SafeTensors::read_metadata(seed).unwrap();
            metadata.metadata().as_ref().unwrap()[CONFIG_KEY].clone()
        }
        Kind::Bytes { .. } => return of_gguf(seed),
        Kind::Lines => unreachable!("lines are no configuration"),
    };
    let of_file = |text: String| match kind {
        Kind::Safetensors => with_metadata(seed, CONFIG_KEY, &text),
        _ => text.into_bytes(),
    };
    let config: Value = serde_json::from_str(&text).unwrap();
    let mut paths = Vec::new();
    collect(&config, "", &mut paths);
    let mark = json!(MARK).to_string();
    let of_key = |path: String| {
        let mut changed = config.clone();
        *changed.pointer_mut(&path).unwrap() = json!(MARK);
        let changed = changed.to_string();
        VALUES.map(|value| Variant {
            name: format!("{path} = {value}"),
            bytes: of_file(changed.replace(&mark, &value.replace("LONG", &"long".repeat(500)))),
        })
    };
    paths.into_iter().flat_map(of_key).collect()
}

/// Variants of a GGUF file: every key with every value.
fn of_gguf(seed: &[u8]) -> Vec<Variant> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed.gguf");
    fs::write(&path, seed).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let out = folder.path().join("changed.gguf");
    let keys = file.metadata();
    let values = [
        GgufValue::U32(0),
        GgufValue::U32(1),
        GgufValue::I32(-1),
        GgufValue::U32(1 << 20),
        GgufValue::U32(1 << 31),
        GgufValue::U64(1 << 62),
        GgufValue::F64(1e-300),
        GgufValue::F32(f32::NAN),
        GgufValue::String("long".repeat(500)),
        GgufValue::Array(GgufArray::U32(vec![u32::MAX; 3])),
    ];
    let mut all = Vec::new();
    for at in 0..keys.len() {
        for value in &values {
            let mut changed = keys.to_vec();
            changed[at].1 = value.clone();
            let mut writer = GgufWriter::create(&out, &changed, file.tensors()).unwrap();
            for tensor in file.tensors() {
                let (_, bytes) = file.tensor(&tensor.name).unwrap();
                writer.write(bytes).unwrap();
            }
            writer.finish().unwrap();
            let name = format!("{} = {value:.20?}", keys[at].0);
            all.push(Variant {
                name: name.chars().take(100).collect(),
                bytes: fs::read(&out).unwrap(),
            });
            fs::remove_file(&out).unwrap();
        }
    }
    all
}

/// Collects the JSON pointers of all nested values.
fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                paths.push(path.clone());
                collect(value, &path, paths);
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                let path = format!("{path}/0");
                paths.push(path.clone());
                collect(first, &path, paths);
            }
        }
        _ => {}
    }
}

/// A safetensors file with another text in its metadata.
fn with_metadata(seed: &[u8], name: &str, text: &str) -> Vec<u8> {
    let (length, _) = seed.split_first_chunk::<8>().unwrap();
    let end = 8 + u64::from_le_bytes(*length) as usize;
    let mut header: Value = serde_json::from_slice(&seed[8..end]).unwrap();
    header["__metadata__"][name] = json!(text);
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(&seed[end..]);
    bytes
}
