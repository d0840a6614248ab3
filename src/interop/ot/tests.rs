//! Archives of `tests/fixtures`, written and read by libtorch.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tch::{Kind, Tensor};

use super::{find, write};
use crate::interop::hugging_face::{HfConfig, HfFolder};
use crate::interop::{ForeignModel, InteropError, Outgoing, OutgoingOptions, TensorSource};

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

fn outgoing(model: &ForeignModel, dtype: Option<Dtype>) -> Outgoing<'_> {
    let options = OutgoingOptions {
        dtype,
        ..Default::default()
    };
    Outgoing::new(model.weights.as_ref(), &model.config, options).unwrap()
}

fn config_file(config: &HfConfig) -> (String, Vec<u8>) {
    let json = config.to_json().to_string().into_bytes();
    ("config.json".into(), json)
}

fn assert_same(found: &dyn TensorSource, expected: &dyn TensorSource) {
    let (mut ours, mut theirs) = (found.names(), expected.names());
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
    for name in theirs {
        let found = found.tensor(&name).unwrap();
        assert!(found == expected.tensor(&name).unwrap(), "{name}");
    }
}

#[test]
fn a_folder_through_an_archive_is_the_same_folder() {
    for name in ["deepseek_v3_mtp", "llama_tied", "mixtral"] {
        let original = HfFolder::open(fixture(name)).unwrap();
        let model = ForeignModel::open(&fixture(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("archive");
        write(
            &target,
            &outgoing(&model, None),
            &[config_file(&model.config)],
        )
        .unwrap();
        for path in [target.clone(), target.join("model.ot")] {
            let copy = ForeignModel::open(&path).unwrap();
            assert_eq!(copy.config.model, model.config.model);
            assert_same(&outgoing(&copy, None), &original);
        }
    }
}

#[test]
fn names_shapes_and_types_are_those_of_the_published_files() {
    let model = ForeignModel::open(&fixture("deepseek_v3_plain")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("half.ot");
    let tensors = outgoing(&model, Some(Dtype::BF16));
    write(&target, &tensors, &[config_file(&model.config)]).unwrap();
    let found = Tensor::load_multi(&target).unwrap();
    let of = |name: &str| &found.iter().find(|(found, _)| found == name).unwrap().1;
    let original = HfFolder::open(fixture("deepseek_v3_plain")).unwrap();
    assert_eq!(found.len(), original.names().len());
    for name in original.names() {
        let expected = original.tensor(&name).unwrap();
        let expected: (Vec<f32>, Vec<i64>) = (
            expected
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|&it| f32::from_le_bytes(it))
                .collect(),
            expected.shape.iter().map(|&size| size as i64).collect(),
        );
        let tensor = of(&name);
        let is_bias = name.ends_with("e_score_correction_bias");
        let kind = if is_bias { Kind::Float } else { Kind::BFloat16 };
        assert_eq!((tensor.kind(), tensor.size()), (kind, expected.1), "{name}");
        let values = Vec::<f32>::try_from(tensor.to_kind(Kind::Float).flatten(0, -1)).unwrap();
        for (found, expected) in values.iter().zip(expected.0) {
            assert!((found - expected).abs() <= expected.abs() / 256.0, "{name}");
        }
    }
}

#[test]
fn an_archive_of_another_program_is_found_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let source = HfFolder::open(fixture("llama_tied")).unwrap();
    assert_eq!(find(&fixture("llama_tied")), None);
    let target = folder.path().join("rust_model.ot");
    let config = fs::read(fixture("llama_tied").join("config.json")).unwrap();
    write(&target, &source, &[("config.json".into(), config)]).unwrap();
    assert_eq!(find(folder.path()), Some(target));
    let model = ForeignModel::open(folder.path()).unwrap();
    assert_same(&outgoing(&model, None), &source);
}

#[test]
fn what_is_no_archive_is_one_line_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ot");
    let source = HfFolder::open(fixture("llama_tied")).unwrap();
    let config = || ("config.json".to_owned(), b"{}".to_vec());
    let open = || ForeignModel::open(&path).unwrap_err().to_string();
    assert!(open().contains("x.ot: No such file"), "{}", open());
    write(&path, &source, &[config()]).unwrap();
    for (target, found) in [
        ("x.ot", "config.json"),
        ("y.ot", "config.json"),
        ("x.ot", "x.ot"),
    ] {
        let files = match found {
            "x.ot" => vec![],
            _ => vec![config()],
        };
        let error = write(&folder.path().join(target), &source, &files).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(&format!("{found}: a file that exists")),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let whole = fs::read(&path).unwrap();
    for end in [0, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..end]).unwrap();
        let error = open();
        assert!(
            error.contains("expected an archive of named tensors"),
            "{error}"
        );
        assert!(!error.contains('\n') && error.len() < 500, "{error}");
    }
    Tensor::save_multi(
        &[(
            "a",
            Tensor::zeros([2], (Kind::ComplexFloat, tch::Device::Cpu)),
        )],
        &path,
    )
    .unwrap();
    let error = ForeignModel::open(&path).unwrap_err();
    assert!(
        matches!(&error, InteropError::TensorDtype { name, .. } if name == "a"),
        "{error}"
    );
}
