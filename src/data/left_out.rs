//! Files of a folder that are no data.

use std::fmt;
use std::path::PathBuf;

/// How many are named.
const NAMED: usize = 5;

/// What a folder that was given holds beside its data. Displayed: how many files, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(Vec<PathBuf>);

impl LeftOut {
    /// Whether all that is there is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, file: PathBuf) {
        self.0.push(file);
    }

    /// Adds those of another source.
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
