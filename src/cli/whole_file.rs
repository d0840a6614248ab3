//! Atomic writing of files.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use crate::cli::failure::Failure;

/// Writes a temporary file and renames it, so that readers see all of it or none.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let partial = path.with_file_name(name);
    let written = File::create(&partial).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&partial, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Failure::input(format!("{}: {error}", path.display()))
    })
}
