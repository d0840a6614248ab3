//! What the targets share: bytes as a file, for readers that take a path.

use std::fs;
use std::path::Path;

/// Calls `read` with a file of this name and content.
pub fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    read(&path);
}
