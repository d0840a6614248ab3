//! libtorch's archives of named tensors, `.ot`, as written by the crate `tch` and by C++ programs with PyTorch.
//!
//! Tensors have Hugging Face's names, and a `config.json` is beside the archive, so that it is a model folder in
//! another container. libtorch reads and writes whole archives: unlike with other formats, all weights must fit into
//! memory. Without the feature `tch`, reading and writing return an error.
//!
//! Names in a file have `|` instead of `.`, which tch converts. In Python: `{name.replace("|", "."): tensor for name,
//! tensor in torch.jit.load("model.ot").named_parameters()}`.

#[cfg(feature = "tch")]
mod archive;
#[cfg(not(feature = "tch"))]
#[path = "no_libtorch.rs"]
mod archive;
#[cfg(test)]
#[cfg(feature = "tch")]
mod tests;

use std::path::{Path, PathBuf};

use super::hugging_face::malformed;
use super::new_folder::{NewFolder, parent};
use super::{InteropError, TensorSource};

pub(super) use archive::Archive;

/// Name of the archive in a folder.
const ARCHIVE: &str = "model.ot";
/// rust-bert's name of the archive.
const OF_RUST_BERT: &str = "rust_model.ot";

/// The archive at a path: the file itself, or one in a folder without safetensors files.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    if is_archive(path) {
        return Some(path.to_path_buf());
    }
    let safetensors = ["model.safetensors", "model.safetensors.index.json"];
    if safetensors.iter().any(|name| path.join(name).is_file()) {
        return None;
    }
    let archives = [ARCHIVE, OF_RUST_BERT].map(|name| path.join(name));
    archives.into_iter().find(|archive| archive.is_file())
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ot")
}

/// Checks that archives can be read and written. Call it before long work.
///
/// # Errors
///
/// [`InteropError::NoLibtorch`] with `path`.
pub fn check_available(path: &Path) -> Result<(), InteropError> {
    match cfg!(feature = "tch") {
        true => Ok(()),
        false => Err(no_libtorch(path)),
    }
}

fn no_libtorch(path: &Path) -> InteropError {
    InteropError::NoLibtorch {
        path: path.to_path_buf(),
    }
}

/// Writes the tensors of a source as an archive, and `files` (name and content) beside it. The target is a new folder
/// for `model.ot`, or a file `*.ot`.
///
/// # Errors
///
/// [`InteropError::NoLibtorch`]; the target or a file beside it exists; errors of the source or the file system.
pub fn write(
    target: &Path,
    source: &dyn TensorSource,
    files: &[(String, Vec<u8>)],
) -> Result<(), InteropError> {
    check_available(target)?;
    if !is_archive(target) {
        NewFolder::refuse_filled(target)?;
        let folder = NewFolder::beside(target)?;
        archive::save(source, &folder.path().join(ARCHIVE))?;
        folder.write_files(target, files)?;
        return folder.rename(target);
    }
    let beside = files.iter().map(|(name, _)| parent(target).join(name));
    for path in beside.chain([target.to_path_buf()]) {
        if path.symlink_metadata().is_ok() {
            return Err(malformed(path, "a file that exists", "no such file"));
        }
    }
    let folder = NewFolder::beside(target)?;
    archive::save(source, &folder.path().join(ARCHIVE))?;
    folder.write_files(target, files)?;
    let names = files.iter().map(|(name, _)| &name[..]);
    let moves = names.map(|name| (name, parent(target).join(name)));
    // the archive is moved last, since the model exists from then on
    folder.move_out(moves.chain([(ARCHIVE, target.to_path_buf())]))
}
