//! Writes a model folder with one tensor in memory at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::shard_plan::{Planned, ShardPlan};
use super::{io, malformed};
use crate::interop::new_folder::NewFolder;
use crate::interop::{InteropError, TensorInfo, TensorSource};

/// Writes the tensors of a source into safetensors files of limited size, together with other files.
#[derive(Debug, Clone, Copy)]
pub struct ShardedWriter {
    /// Largest number of tensor bytes per file; a single larger tensor gets a file of its own.
    pub max_shard_size: u64,
}

impl Default for ShardedWriter {
    /// Files of 5 GB.
    fn default() -> Self {
        Self {
            max_shard_size: 5_000_000_000,
        }
    }
}

impl ShardedWriter {
    /// Writes a folder with `model.safetensors`, or shards and their index, and with `files` (name and content).
    ///
    /// Tensors are read in the order of the source. Everything is written into a hidden folder beside the target,
    /// synchronized, and renamed at the end, so that the target is complete or absent.
    ///
    /// # Errors
    ///
    /// The target exists and is not an empty folder; a file name is not plain or collides with a tensor file; errors
    /// of the source or the file system.
    pub fn write<S: TensorSource + ?Sized>(
        &self,
        target: &Path,
        source: &S,
        files: &[(String, Vec<u8>)],
    ) -> Result<(), InteropError> {
        NewFolder::refuse_filled(target)?;
        let plan = ShardPlan::new(infos(source, target)?, self.max_shard_size, target)?;
        let folder = NewFolder::beside(target)?;
        let metadata = json!({"format": "pt"});
        for shard in 0..plan.shards.len() {
            let path = folder.path().join(plan.file_name(shard));
            let header = plan.header(shard, &metadata, target)?;
            write_shard(&path, &header, &plan.shards[shard], source, target)?;
        }
        if let Some(index) = plan.index() {
            let name = "model.safetensors.index.json";
            folder.write_file(name, format!("{index:#}\n").as_bytes())?;
        }
        folder.write_files(target, files)?;
        folder.rename(target)
    }
}

/// Writes the tensors of a source into one new safetensors file, with `metadata` in its header. Errors of the source
/// name `target`.
pub(in crate::interop) fn write_file<S: TensorSource + ?Sized>(
    path: &Path,
    source: &S,
    metadata: &Value,
    target: &Path,
) -> Result<(), InteropError> {
    let plan = ShardPlan::new(infos(source, target)?, u64::MAX, target)?;
    let header = plan.header(0, metadata, target)?;
    write_shard(path, &header, &plan.shards[0], source, target)
}

/// Name, element type and shape of every tensor.
fn infos<S: TensorSource + ?Sized>(
    source: &S,
    target: &Path,
) -> Result<Vec<(String, TensorInfo)>, InteropError> {
    let infos = source.names().into_iter().map(|name| {
        let info = source.info(&name);
        let path = target.to_path_buf();
        match info {
            Some(info) => Ok((name, info)),
            None => Err(InteropError::MissingTensor { path, name }),
        }
    });
    infos.collect()
}

fn write_shard<S: TensorSource + ?Sized>(
    path: &Path,
    header: &[u8],
    tensors: &[Planned],
    source: &S,
    target: &Path,
) -> Result<(), InteropError> {
    let mut file = BufWriter::new(File::create_new(path).map_err(io(path))?);
    file.write_all(header).map_err(io(path))?;
    for planned in tensors {
        write_tensor(&mut file, path, planned, target, source)?;
    }
    file.flush().map_err(io(path))?;
    file.get_ref().sync_all().map_err(io(path))
}

fn write_tensor<S: TensorSource + ?Sized>(
    file: &mut impl Write,
    path: &Path,
    planned: &Planned,
    target: &Path,
    source: &S,
) -> Result<(), InteropError> {
    let Planned { name, info, size } = planned;
    let tensor = source.tensor(name)?;
    let same = tensor.dtype == info.dtype && tensor.shape == info.shape;
    if !same || tensor.bytes.len() as u64 != *size {
        let bytes = tensor.bytes.len();
        let found = format!(
            "tensor `{name}` of {:?} {} in {bytes} bytes",
            tensor.shape, tensor.dtype
        );
        let expected = format!(
            "{:?} {} in {size} bytes, as announced",
            info.shape, info.dtype
        );
        return Err(malformed(target, found, expected));
    }
    file.write_all(&tensor.bytes).map_err(io(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::ShardedWriter;
    use crate::interop::hugging_face::{FIXTURES, HfFolder};
    use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

    fn write(source: &dyn TensorSource, target: &Path, max_shard_size: u64) -> Result<(), String> {
        let writer = ShardedWriter { max_shard_size };
        let config = ("config.json".into(), b"{}".to_vec());
        let written = writer.write(target, source, &[config]);
        written.map_err(|error| error.to_string())
    }

    fn tensors(source: &impl TensorSource) -> BTreeMap<String, RawTensor<'_>> {
        let read = |name: String| {
            let tensor = source.tensor(&name).unwrap();
            (name, tensor)
        };
        source.names().into_iter().map(read).collect()
    }

    #[test]
    fn every_fixture_is_written_as_it_was_read() {
        let temporary = tempfile::tempdir().unwrap();
        let mut count = 0;
        for fixture in fs::read_dir(FIXTURES).unwrap() {
            let fixture = fixture.unwrap();
            let Ok(source) = HfFolder::open(fixture.path()) else {
                continue;
            };
            for (kind, max) in [("one", u64::MAX), ("shards", 20_000), ("each", 0)] {
                let target = temporary.path().join(kind).join(fixture.file_name());
                write(&source, &target, max).unwrap();
                let copy = HfFolder::open(&target).unwrap();
                assert!(tensors(&copy) == tensors(&source), "{target:?}");
                let single = max == u64::MAX || source.names().len() == 2;
                assert_eq!(copy.file("model.safetensors").is_some(), single);
                assert_eq!(
                    fs::read_dir(target.parent().unwrap()).unwrap().count(),
                    1 + count
                );
            }
            count += 1;
        }
        assert!(count >= 14, "{count}");
    }

    #[test]
    fn the_header_says_that_it_is_of_pytorch() {
        let temporary = tempfile::tempdir().unwrap();
        let target = temporary.path().join("x");
        fs::create_dir(&target).unwrap();
        let source = HfFolder::open(Path::new(FIXTURES).join("fp8_block")).unwrap();
        write(&source, &target, u64::MAX).unwrap();
        let bytes = fs::read(target.join("model.safetensors")).unwrap();
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        assert_eq!(fs::read(target.join("config.json")).unwrap(), b"{}");
    }

    /// A source that announces one shape and gives another from the second tensor on.
    struct Liar(HfFolder);

    impl TensorSource for Liar {
        fn names(&self) -> Vec<String> {
            self.0.names()
        }

        fn info(&self, name: &str) -> Option<TensorInfo> {
            self.0.info(name)
        }

        fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
            let mut tensor = self.0.tensor(name)?;
            if name != self.0.names()[0] {
                tensor.shape.push(1);
            }
            Ok(tensor)
        }
    }

    #[test]
    fn nothing_half_written_stays_and_nothing_is_overwritten() {
        let temporary = tempfile::tempdir().unwrap();
        let target = temporary.path().join("x");
        let entries = || fs::read_dir(temporary.path()).unwrap().count();
        let source = || HfFolder::open(Path::new(FIXTURES).join("llama_tied")).unwrap();
        let error = write(&Liar(source()), &target, 0).unwrap_err();
        assert!(error.contains("as announced"), "{error}");
        assert_eq!(entries(), 0);
        for name in ["../y", "/y", "", "model-00001-of-00034.safetensors"] {
            let files = [(name.to_owned(), Vec::new())];
            let writer = ShardedWriter { max_shard_size: 0 };
            writer.write(&target, &source(), &files).unwrap_err();
            assert_eq!(entries(), 0, "{name}");
        }
        fs::create_dir(&target).unwrap();
        fs::write(target.join("precious"), "1").unwrap();
        let error = write(&source(), &target, u64::MAX).unwrap_err();
        assert!(
            error.ends_with("a folder that is not empty, expected no such folder, or an empty one")
        );
        let error = write(&source(), &target.join("precious"), u64::MAX).unwrap_err();
        assert!(error.contains("a file that exists"), "{error}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }
}
