//! Files of a folder that are not data.

use std::fmt;
use std::path::PathBuf;

/// Number of files that are named.
const NAMED: usize = 5;

/// Files of data folders that are not read. Its display is their number and the first few names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(Vec<PathBuf>);

impl LeftOut {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, file: PathBuf) {
        self.0.push(file);
    }

    /// Adds the files of another source.
    pub fn extend(&mut self, other: &Self) {
        let new = other.0.iter().filter(|file| !self.0.contains(file));
        let new: Vec<_> = new.cloned().collect();
        self.0.extend(new);
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = match self.0.len() {
            1 => "1 file".into(),
            count => format!("{count} files"),
        };
        write!(f, "{files} left out: ")?;
        for (number, file) in self.0.iter().take(NAMED).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}", file.display())?;
        }
        if self.0.len() > NAMED {
            write!(f, ", ...")
        } else {
            Ok(())
        }
    }
}
