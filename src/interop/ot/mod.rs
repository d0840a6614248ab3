//! libtorch's archives of named tensors, `.ot`: how the crate `tch` and programs in PyTorch's C++ keep weights.
//!
//! Tensors have Hugging Face's names and a `config.json` stands beside, so that an archive is a model folder
//! in another container. libtorch reads and writes an archive at once: unlike with other formats, memory
//! must hold all of the weights. Without the feature `tch` there is no libtorch, and both say so.
//!
//! Names within a file have `|` for `.`, which tch undoes; Python reads them by
//! `{name.replace("|", "."): tensor for name, tensor in torch.jit.load("model.ot").named_parameters()}`.

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
/// What rust-bert calls it.
const OF_RUST_BERT: &str = "rust_model.ot";

/// The archive that a path leads to: itself, or within a folder that has no safetensors.
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

/// Whether archives can be read and written: to be asked before long work.
///
/// # Errors
///
/// [`InteropError::NoLibtorch`], which names `path`.
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

/// Writes the tensors of a source as an archive, and `files` (name and content) beside it. The target is a
/// new folder, which then holds `model.ot`, or a file `*.ot`.
///
/// # Errors
///
/// [`InteropError::NoLibtorch`]; a target or a file beside it that exists; what the source meets; what the
/// file system refuses.
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
    // the archive last: with it the model is there
    folder.move_out(moves.chain([(ARCHIVE, target.to_path_buf())]))
}
