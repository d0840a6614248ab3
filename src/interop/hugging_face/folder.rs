//! A model folder: weights in one or more safetensors files, `config.json` and tokenizer files beside.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::safetensors_file::SafetensorsFile;
use super::{HfConfig, io, malformed};
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weights of a model folder, memory-mapped, names and layout as in its files.
#[derive(Debug)]
pub struct HfFolder {
    folder: PathBuf,
    /// What errors name: the folder, or the one file that was opened.
    path: PathBuf,
    files: Vec<SafetensorsFile>,
    /// File and entry of every tensor.
    places: HashMap<String, (usize, usize)>,
    names: Vec<String>,
}

impl HfFolder {
    /// Opens a folder with `model.safetensors` or with shards and `model.safetensors.index.json`, or one
    /// `.safetensors` file. A folder must hold a `config.json`; beside a file it may be missing.
    ///
    /// The files must not be written to while the value lives.
    ///
    /// # Errors
    ///
    /// What is missing, cut short or corrupt.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, InteropError> {
        let path = path.into();
        if path.is_file() {
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            let file = SafetensorsFile::open(&path)?;
            return Ok(Self::single(folder, path, file));
        }
        if !path.is_dir() {
            let expected = "a model folder or a .safetensors file";
            return Err(malformed(path, "no such file or folder", expected));
        }
        if !path.join("config.json").is_file() {
            let expected = "a model folder with config.json and safetensors";
            return Err(malformed(path, "no config.json in this folder", expected));
        }
        if path.join(SINGLE).is_file() {
            let file = SafetensorsFile::open(&path.join(SINGLE))?;
            return Ok(Self::single(path.clone(), path, file));
        }
        if path.join(INDEX).is_file() {
            return Self::sharded(path);
        }
        let found = match path.join("pytorch_model.bin").is_file() {
            true => "only pytorch_model.bin",
            false => "no weights in this folder",
        };
        Err(malformed(path, found, format!("{SINGLE} or {INDEX}")))
    }

    fn single(folder: PathBuf, path: PathBuf, file: SafetensorsFile) -> Self {
        let names = file.entries.iter().map(|entry| entry.name.clone());
        let names = names.collect::<Vec<_>>();
        let places = names.iter().cloned().zip((0..).map(|entry| (0, entry)));
        Self {
            folder,
            path,
            places: places.collect(),
            names,
            files: vec![file],
        }
    }

    fn sharded(folder: PathBuf) -> Result<Self, InteropError> {
        let index = folder.join(INDEX);
        let mut this = Self {
            path: folder.clone(),
            folder,
            files: Vec::new(),
            places: HashMap::new(),
            names: Vec::new(),
        };
        for (shard, mut expected) in weight_map(&index)? {
            let path = this.folder.join(&shard);
            if !path.is_file() {
                let found = format!("shard `{shard}`, which is not in the folder");
                return Err(malformed(index, found, "files beside the index"));
            }
            let file = SafetensorsFile::open(&path)?;
            for (entry, tensor) in file.entries.iter().enumerate() {
                if expected.remove(&tensor.name) {
                    let place = (this.files.len(), entry);
                    this.places.insert(tensor.name.clone(), place);
                    this.names.push(tensor.name.clone());
                }
            }
            if let Some(name) = expected.into_iter().next() {
                let found = format!("tensor `{name}` in `{shard}`, which does not hold it");
                return Err(malformed(index, found, "the shard that holds it"));
            }
            this.files.push(file);
        }
        Ok(this)
    }

    /// The folder of the weights.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of a file beside the weights, such as `tokenizer.json`; none if there is no such file.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.is_file().then_some(path)
    }

    /// Reads the configuration beside the weights.
    ///
    /// # Errors
    ///
    /// Those of [`HfConfig::open`].
    pub fn config(&self) -> Result<HfConfig, InteropError> {
        HfConfig::open(&self.folder.join("config.json"))
    }
}

/// Tensor names of every shard that an index lists.
fn weight_map(index: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, InteropError> {
    let text = std::fs::read(index).map_err(io(index))?;
    let json = serde_json::from_slice::<Value>(&text)
        .map_err(|error| malformed(index, error.to_string(), "JSON"))?;
    let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
        let expected = "an object from tensor to file";
        return Err(malformed(index, "no object `weight_map`", expected));
    };
    let mut shards = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, shard) in map {
        // an index from elsewhere must not reach files outside its folder
        match shard.as_str() {
            Some(file) if Path::new(file).file_name().is_some_and(|last| last == file) => {
                let names = shards.entry(file.to_owned()).or_default();
                names.insert(name.clone());
            }
            _ => {
                let found = format!("`weight_map.{name}` is {shard}");
                return Err(malformed(index, found, "the name of a file in this folder"));
            }
        }
    }
    Ok(shards)
}

impl TensorSource for HfFolder {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let (file, entry) = *self.places.get(name)?;
        Some(self.files[file].entries[entry].info.clone())
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        match self.places.get(name) {
            Some(&(file, entry)) => Ok(self.files[file].tensor(entry)),
            None => Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HfFolder, INDEX};
    use crate::interop::TensorSource;
    use crate::interop::hugging_face::FIXTURES;

    fn error(folder: &Path) -> String {
        HfFolder::open(folder).unwrap_err().to_string()
    }

    #[test]
    fn every_fixture_opens() {
        let mut opened = 0;
        for entry in std::fs::read_dir(FIXTURES).unwrap() {
            let path = entry.unwrap().path();
            if path.join("config.json").is_file() && path.join("model.safetensors").is_file() {
                let folder = HfFolder::open(&path).unwrap();
                for name in folder.names() {
                    let tensor = folder.tensor(&name).unwrap();
                    assert_eq!(folder.info(&name).unwrap().shape, tensor.shape, "{name}");
                }
                assert!(folder.names().len() > 1 && folder.file("config.json").is_some());
                assert!(folder.file("no.json").is_none());
                opened += 1;
            }
        }
        assert!(opened >= 14, "{opened}");
    }

    #[test]
    fn one_file_opens_and_names_what_it_lacks() {
        let path = Path::new(FIXTURES).join("deepseek_v3_halfrope/interleaved_twin.safetensors");
        let file = HfFolder::open(&path).unwrap();
        assert_eq!(file.names().len(), 6);
        assert!(file.info("no").is_none());
        let error = file.tensor("no").unwrap_err().to_string();
        assert!(
            error.ends_with("interleaved_twin.safetensors: tensor `no` is missing"),
            "{error}"
        );
    }

    #[test]
    fn broken_folders_are_named_in_one_line() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        assert!(error(&folder.join("no")).contains("no such file or folder"));
        assert!(error(folder).contains("no config.json"));
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        assert!(error(folder).contains("no weights"));
        std::fs::write(folder.join("pytorch_model.bin"), "").unwrap();
        assert!(error(folder).contains("only pytorch_model.bin"));

        let index = |text: &str| std::fs::write(folder.join(INDEX), text).unwrap();
        index("{");
        assert!(error(folder).contains("expected JSON"));
        index("[]");
        assert!(error(folder).contains("no object `weight_map`"));
        index(r#"{"weight_map":{"a":"../a.safetensors"}}"#);
        assert!(error(folder).contains("the name of a file in this folder"));
        index(r#"{"weight_map":{"a":7}}"#);
        assert!(error(folder).contains("`weight_map.a` is 7"));
        index(r#"{"weight_map":{"a":"a.safetensors"}}"#);
        assert!(error(folder).contains("`a.safetensors`, which is not in the folder"));
        let twin = Path::new(FIXTURES).join("deepseek_v3_halfrope/interleaved_twin.safetensors");
        std::fs::copy(twin, folder.join("a.safetensors")).unwrap();
        let message = error(folder);
        assert!(
            message.contains("tensor `a` in `a.safetensors`, which"),
            "{message}"
        );
        assert!(!message.contains('\n'));
        index(r#"{"weight_map":{"model.layers.1.self_attn.q_b_proj.weight":"a.safetensors"}}"#);
        assert_eq!(HfFolder::open(folder).unwrap().names().len(), 1);
    }
}
