//! A model folder: weights in safetensors files, with `config.json` and tokenizer files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::safetensors_file::SafetensorsFile;
use super::{HfConfig, adapter, io, malformed};
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Expectation in the error for an adapter without its base model.
const ADAPTER_EXPECTED: &str =
    "the model that it was trained on, and the adapter named by `--adapter DIR`";

/// The weights of a model folder, memory-mapped, with the names and layout of its files.
#[derive(Debug)]
pub struct HfFolder {
    folder: PathBuf,
    /// Path for errors: the folder, or the single file that was opened.
    path: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Indices of the file and of the entry of every tensor.
    places: HashMap<String, (usize, usize)>,
    names: Vec<String>,
}

impl HfFolder {
    /// Opens a folder with `model.safetensors`, or with shards and `model.safetensors.index.json`, or a single
    /// `.safetensors` file. A folder must have a `config.json`; beside a single file it may be missing.
    ///
    /// The files must not be written to while this value lives.
    ///
    /// # Errors
    ///
    /// Files that are missing, truncated or corrupt.
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
            if path.join(adapter::CONFIG).is_file() {
                return Err(malformed(path, "an adapter alone", ADAPTER_EXPECTED));
            }
            let expected = "a model folder with config.json and safetensors";
            return Err(malformed(path, "no config.json in this folder", expected));
        }
        if path.join(SINGLE).is_file() {
            let file = SafetensorsFile::open(&path.join(SINGLE))?;
            return Ok(Self::single(path.clone(), path, file));
        }
        let shards = Shards::of(&path)?;
        if !shards.files.is_empty() {
            return Self::sharded(path, shards);
        }
        if path.join(adapter::CONFIG).is_file() {
            return Err(malformed(path, "an adapter alone", ADAPTER_EXPECTED));
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

    /// Opens shards. Each tensor is read from the shard that holds it, whatever the index says.
    fn sharded(folder: PathBuf, shards: Shards) -> Result<Self, InteropError> {
        let index = folder.join(INDEX);
        let mut this = Self {
            path: folder.clone(),
            folder,
            files: Vec::new(),
            places: HashMap::new(),
            names: Vec::new(),
        };
        for shard in &shards.files {
            let path = this.folder.join(shard);
            let file = SafetensorsFile::open(&path)?;
            for (entry, tensor) in file.entries.iter().enumerate() {
                let stated = shards.stated.get(&tensor.name);
                let place = (this.files.len(), entry);
                match this.places.insert(tensor.name.clone(), place) {
                    None => this.names.push(tensor.name.clone()),
                    // of two, the index knows the one that is meant
                    Some(_) if stated == Some(shard) => {}
                    Some(other)
                        if stated.is_some_and(|stated| *stated == shards.files[other.0]) =>
                    {
                        this.places.insert(tensor.name.clone(), other);
                    }
                    Some((other, _)) => {
                        let other = &shards.files[other];
                        let found = format!("tensor `{}` in `{other}` and here", tensor.name);
                        return Err(malformed(path, found, "one of them"));
                    }
                }
            }
            this.files.push(file);
        }
        let is_missing = |name: &&String| !this.places.contains_key(*name);
        if let Some(name) = shards.stated.keys().find(is_missing) {
            let found = format!("tensor `{name}`, which no shard in the folder holds");
            return Err(malformed(index, found, "the whole model's shards"));
        }
        Ok(this)
    }

    /// Folder of the weights.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Value of `key` in the `__metadata__` of the first file that has it.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let mut files = self.files.iter();
        files.find_map(|file| file.metadata.get(key).map(String::as_str))
    }

    /// Path of a file in the folder, such as `tokenizer.json`; `None` if it does not exist.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.is_file().then_some(path)
    }

    /// Reads `config.json` in the folder.
    ///
    /// # Errors
    ///
    /// Those of [`HfConfig::open`].
    pub fn config(&self) -> Result<HfConfig, InteropError> {
        HfConfig::open(&self.folder.join("config.json"))
    }
}

/// The shards of a folder.
#[derive(Debug, Default)]
struct Shards {
    /// The shards named by the index, and those numbered with them; all exist in the folder.
    files: Vec<String>,
    /// Shard of every tensor that the index lists.
    stated: BTreeMap<String, String>,
}

impl Shards {
    fn of(folder: &Path) -> Result<Self, InteropError> {
        let index = folder.join(INDEX);
        let stated = match index.is_file() {
            true => weight_map(&index)?,
            false => BTreeMap::new(),
        };
        let present = std::fs::read_dir(folder).map_err(io(folder))?;
        let present = present.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut files: BTreeSet<String> = stated.values().cloned().collect();
        // an index that was edited may leave out a shard, and some folders have none
        let first = files.first().cloned();
        files.extend(present.filter(|name| match (numbered(name), &first) {
            (Some((stem, _, count)), Some(first)) => {
                numbered(first).is_some_and(|(other, _, of)| (other, of) == (stem, count))
            }
            (Some((stem, ..)), None) => stem == "model",
            (None, _) => false,
        }));
        let series: BTreeSet<(&str, usize)> = files
            .iter()
            .filter_map(|name| numbered(name).map(|(stem, _, count)| (stem, count)))
            .collect();
        let of_series = series.into_iter().flat_map(|(stem, count)| {
            (1..=count.min(MAX_SHARDS))
                .map(move |number| format!("{stem}-{number:05}-of-{count:05}.safetensors"))
        });
        let missing = files
            .iter()
            .cloned()
            .chain(of_series)
            .find(|shard| !folder.join(shard).is_file());
        if let Some(shard) = missing {
            let found = format!("no shard `{shard}` in this folder");
            return Err(malformed(folder, found, "all shards of the model"));
        }
        Ok(Self {
            files: files.into_iter().collect(),
            stated,
        })
    }
}

/// Upper bound of the number of shards, so that a file's name cannot cause huge lists.
const MAX_SHARDS: usize = 1 << 14;

/// Stem, number and count in a shard's name, such as `model-00001-of-00002.safetensors`.
fn numbered(name: &str) -> Option<(&str, usize, usize)> {
    let rest = name.strip_suffix(".safetensors")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five = |digits: &str| (digits.len() == 5).then(|| digits.parse::<usize>().ok())?;
    Some((stem, five(number)?, five(count)?))
}

/// Shard of every tensor that an index lists.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, InteropError> {
    let text = std::fs::read(index).map_err(io(index))?;
    let json = serde_json::from_slice::<Value>(&text)
        .map_err(|error| malformed(index, error.to_string(), "JSON"))?;
    let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
        let expected = "an object from tensor to file";
        return Err(malformed(index, "no object `weight_map`", expected));
    };
    let shards = map.iter().map(|(name, shard)| match shard.as_str() {
        // an index from elsewhere must not reach files outside its folder
        Some(file) if Path::new(file).file_name().is_some_and(|last| last == file) => {
            Ok((name.clone(), file.to_owned()))
        }
        _ => {
            let found = format!("`weight_map.{name}` is {shard}");
            Err(malformed(index, found, "the name of a file in this folder"))
        }
    });
    shards.collect()
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
    use std::collections::BTreeMap;
    use std::path::Path;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

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
        assert!(error(folder).contains("no shard `a.safetensors` in this folder"));
        let twin = Path::new(FIXTURES).join("deepseek_v3_halfrope/interleaved_twin.safetensors");
        std::fs::copy(twin, folder.join("a.safetensors")).unwrap();
        let message = error(folder);
        assert!(
            message.contains("tensor `a`, which no shard in the folder holds"),
            "{message}"
        );
        assert!(!message.contains('\n'));
    }

    /// A folder with these files, each of which holds these tensors of one byte.
    fn folder(index: Option<&str>, shards: &[(&str, &[&str])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        if let Some(index) = index {
            std::fs::write(folder.path().join(INDEX), index).unwrap();
        }
        for (at, (file, names)) in shards.iter().enumerate() {
            let value = [at as u8];
            let views = names.iter().map(|name| {
                let view = TensorView::new(Dtype::U8, vec![1], &value).unwrap();
                (name.to_string(), view)
            });
            let path = folder.path().join(file);
            safetensors::serialize_to_file(views, None, &path).unwrap();
        }
        folder
    }

    const FIRST: &str = "model-00001-of-00002.safetensors";
    const SECOND: &str = "model-00002-of-00002.safetensors";

    #[test]
    fn shards_are_read_whole_whatever_their_index_leaves_out() {
        let index = |map: &[(&str, &str)]| {
            let map: BTreeMap<_, _> = map.iter().copied().collect();
            serde_json::json!({ "weight_map": map }).to_string()
        };
        let two: &[(&str, &[&str])] = &[(FIRST, &["a", "b"]), (SECOND, &["c"])];
        let copies: &[(&str, &[&str])] = &[(FIRST, &["a", "b"]), (SECOND, &["b", "c"])];
        let other: &[(&str, &[&str])] = &[
            (FIRST, &["a"]),
            (SECOND, &["b", "c"]),
            ("x.safetensors", &["z"]),
        ];
        let all = index(&[("a", FIRST), ("b", FIRST), ("c", SECOND)]);
        // a name is missing, a shard is, no index, a name at the wrong shard, a copy, a file of something else
        let good = [
            (Some(index(&[("a", FIRST), ("c", SECOND)])), two, 0),
            (Some(index(&[("a", FIRST), ("b", FIRST)])), two, 0),
            (None, two, 0),
            (
                Some(index(&[("a", FIRST), ("b", SECOND), ("c", SECOND)])),
                two,
                0,
            ),
            (Some(all.clone()), copies, 0),
            (
                Some(index(&[("a", FIRST), ("b", SECOND), ("c", SECOND)])),
                copies,
                1,
            ),
            (Some(all.clone()), other, 1),
        ];
        for (index, shards, of_b) in good {
            let place = folder(index.as_deref(), shards);
            let opened = HfFolder::open(place.path()).unwrap();
            let mut names = opened.names();
            names.sort_unstable();
            assert_eq!(names, ["a", "b", "c"], "{index:?}");
            assert_eq!(opened.tensor("b").unwrap().bytes[..], [of_b], "{index:?}");
        }
        let missing = "no shard `model-00002-of-00002.safetensors` in this folder";
        let bad = [
            (Some(all.clone()), &two[..1], missing),
            (
                Some(index(&[("a", FIRST), ("b", FIRST)])),
                &two[..1],
                missing,
            ),
            (None, &two[..1], missing),
            (
                None,
                copies,
                "tensor `b` in `model-00001-of-00002.safetensors` and here",
            ),
            (
                Some(index(&[("a", FIRST), ("d", FIRST)])),
                two,
                "tensor `d`, which no shard in the folder holds",
            ),
        ];
        for (index, shards, message) in bad {
            let place = folder(index.as_deref(), shards);
            let error = error(place.path());
            assert!(error.contains(message), "{index:?}: {error}");
        }
    }

    #[test]
    fn an_adapter_alone_is_called_one() {
        let place = folder(None, &[("adapter_model.safetensors", &["a"])]);
        std::fs::write(place.path().join("adapter_config.json"), "{}").unwrap();
        assert!(error(place.path()).contains("an adapter alone"));
        std::fs::remove_file(place.path().join("config.json")).unwrap();
        assert!(error(place.path()).contains("an adapter alone"));
    }
}
