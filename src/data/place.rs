//! Where a document stands in its file.

use std::fmt;

/// A place in a file, as its kind of file is counted, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The whole file is one document.
    File,
    /// A line.
    Line(u64),
    /// An element of an array, and the line on which it begins.
    Element {
        /// Which one.
        number: u64,
        /// Where it begins.
        line: u64,
    },
    /// A row of a table.
    Row(u64),
}

impl Place {
    /// The line or row, as an [`Origin`](super::Origin) tells it.
    pub fn line(self) -> u64 {
        match self {
            Self::File => 1,
            Self::Line(line) | Self::Element { line, .. } | Self::Row(line) => line,
        }
    }

    /// Where byte `column` of the document is, counted from 1.
    pub(super) fn position(self, column: usize) -> String {
        match self {
            Self::Line(_) => format!("column {column}"),
            Self::File | Self::Element { .. } | Self::Row(_) => format!("byte {column}"),
        }
    }
}

impl fmt::Display for Place {
    /// Behind the name of a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(line) => write!(f, " line {line}"),
            Self::Element { number, line } => write!(f, " line {line}, element {number}"),
            Self::Row(row) => write!(f, " row {row}"),
        }
    }
}
