//! The container format alone: written content is read back.

use super::Checkpoint;
use crate::interop::gguf::{
    GgmlType, GgufArray, GgufFile, GgufOptions, GgufProgress, GgufTensor, GgufValue, GgufWriter,
    HfModel, OutType, write,
};

#[test]
fn tensors_of_odd_sizes_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let sizes = [
        ("a", vec![3], 1, 12),
        ("b", vec![2, 5], 2, 40),
        ("c", vec![1], 3, 4),
    ];
    let tensor = |name: &str, shape: &[usize]| GgufTensor {
        name: name.to_owned(),
        ggml_type: GgmlType::F32,
        shape: shape.to_vec(),
    };
    let tensors: Vec<_> = sizes
        .iter()
        .map(|(name, shape, ..)| tensor(name, shape))
        .collect();
    let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
    for (_, _, byte, size) in &sizes {
        writer.write(&vec![*byte; *size]).unwrap();
    }
    writer.finish().unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.tensors(), tensors);
    for (name, _, byte, size) in sizes {
        assert_eq!(file.tensor(name).unwrap().1, vec![byte; size]);
    }
}

#[test]
fn values_of_every_type_are_found_again() {
    let values = [
        GgufValue::U8(1),
        GgufValue::I8(-2),
        GgufValue::U16(3),
        GgufValue::I16(-4),
        GgufValue::U32(5),
        GgufValue::I32(-6),
        GgufValue::F32(7.5),
        GgufValue::U64(8),
        GgufValue::I64(-9),
        GgufValue::F64(10.5),
        GgufValue::Bool(true),
        GgufValue::String("Ġtext".to_owned()),
        GgufValue::Array(GgufArray::U8(vec![1, 2])),
        GgufValue::Array(GgufArray::I64(vec![-1])),
        GgufValue::Array(GgufArray::F32(Vec::new())),
        GgufValue::Array(GgufArray::Bool(vec![true, false])),
        GgufValue::Array(GgufArray::String(vec![String::new(), "b".to_owned()])),
    ];
    let metadata: Vec<_> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (index.to_string(), value))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    GgufWriter::create(&path, &metadata, &[])
        .unwrap()
        .finish()
        .unwrap();
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.metadata(), metadata);
    assert_eq!(file.value("5"), Some(&GgufValue::I32(-6)));
}

#[test]
fn progress_is_told_before_each_tensor() {
    let source = Checkpoint::read("llama_tied");
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.gguf");
    let mut told = Vec::new();
    let config = source.config().unwrap();
    let model = HfModel {
        path: &source.folder,
        config: &config,
        tokenizer: None,
        tensors: &source,
    };
    let progress = &mut |progress: GgufProgress<'_>| {
        told.push((progress.tensor.to_owned(), progress.done, progress.total))
    };
    write(
        model,
        GgufOptions {
            dtype: OutType::F32,
            name: "fixture",
            progress,
        },
        &target,
    )
    .unwrap();
    let file = GgufFile::open(&target).unwrap();
    let total = file.tensors().len();
    let expected: Vec<_> = file
        .tensors()
        .iter()
        .enumerate()
        .map(|(done, tensor)| (tensor.name.clone(), done, total))
        .collect();
    assert_eq!(told, expected);
}
