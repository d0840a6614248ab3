//! Whole files: against llama.cpp's converter, there and back, and with bytes that lie.

mod container;
mod families;
mod golden;
mod hostile;
mod others;
mod refusals;
mod round_trip;
mod token_ids;
mod tokenizer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    GgmlType, GgufFile, GgufOptions, GgufTensor, GgufValue, GgufWriter, HfModel, OutType,
    TokenizerFiles, write,
};
use crate::interop::hugging_face::HfConfig;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// The folder with a folder for each fixture.
const FIXTURES: &str = "tests/fixtures";

/// A checkpoint in memory.
#[derive(Default)]
struct Checkpoint {
    folder: PathBuf,
    config: Value,
    tokenizer: Option<TokenizerFiles>,
    names: Vec<String>,
    tensors: HashMap<String, (TensorInfo, Vec<u8>)>,
}

impl Checkpoint {
    fn read(fixture: &str) -> Self {
        let folder = Path::new(FIXTURES).join(fixture);
        let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
        let json = |file: &str| Some(serde_json::from_str(&text(file)?).unwrap());
        let config = json("config.json").unwrap();
        let tokenizer = json("tokenizer.json").map(|tokenizer| TokenizerFiles {
            tokenizer,
            config: json("tokenizer_config.json"),
            chat_template: text("chat_template.jinja"),
        });
        let bytes = fs::read(folder.join("model.safetensors")).unwrap();
        let mut checkpoint = Self {
            folder,
            config,
            tokenizer,
            ..Self::default()
        };
        let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        tensors.sort_by_key(|(_, view)| view.data().as_ptr());
        for (name, view) in tensors {
            checkpoint.put(&name, view.dtype(), view.shape(), view.data().to_vec());
        }
        checkpoint
    }

    fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let info = TensorInfo {
            dtype,
            shape: shape.to_vec(),
        };
        if self
            .tensors
            .insert(name.to_owned(), (info, bytes))
            .is_none()
        {
            self.names.push(name.to_owned());
        }
    }

    fn remove(&mut self, name: &str) {
        self.names.retain(|other| other != name);
        self.tensors.remove(name);
    }

    /// Converts all tensors to another element type.
    fn cast(&mut self, kind: OutType, dtype: Dtype) {
        for (info, bytes) in self.tensors.values_mut() {
            let mut values = Vec::new();
            GgmlType::F32.decode(bytes, &mut values);
            bytes.clear();
            kind.encode(&values, bytes);
            info.dtype = dtype;
        }
    }

    fn config(&self) -> Result<HfConfig, InteropError> {
        let path = self.folder.join("config.json");
        HfConfig::parse(&path, &self.config.to_string())
    }

    fn write(&self, dtype: OutType, target: &Path) -> Result<(), InteropError> {
        let config = self.config()?;
        let model = HfModel {
            path: &self.folder,
            config: &config,
            tokenizer: self.tokenizer.as_ref(),
            tensors: self,
        };
        write(
            model,
            GgufOptions {
                dtype,
                name: "fixture",
                progress: &mut |_| {},
            },
            target,
        )
    }

    /// Writes a file into a folder that is removed when dropped.
    fn written(&self, dtype: OutType) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        self.write(dtype, &target).unwrap();
        (folder, target)
    }
}

impl TensorSource for Checkpoint {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info.clone())
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let (TensorInfo { dtype, shape }, bytes) = &self.tensors[name];
        Ok(RawTensor {
            dtype: *dtype,
            shape: shape.clone(),
            bytes: Cow::Borrowed(bytes),
        })
    }
}

type Tensors = Vec<(GgufTensor, Vec<u8>)>;
type Keys = Vec<(String, GgufValue)>;

/// All that a file holds.
fn contents_of(path: &Path) -> (Keys, Tensors) {
    let file = GgufFile::open(path).unwrap();
    let tensors = file.tensors().iter();
    let tensors = tensors.map(|it| (it.clone(), file.tensor(&it.name).unwrap().1.to_vec()));
    (file.metadata().to_vec(), tensors.collect())
}

fn rewrite(path: &Path, keys: &[(String, GgufValue)], tensors: &[(GgufTensor, Vec<u8>)]) {
    let infos: Vec<_> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut writer = GgufWriter::create(path, keys, &infos).unwrap();
    for (_, bytes) in tensors {
        writer.write(bytes).unwrap();
    }
    writer.finish().unwrap();
}
