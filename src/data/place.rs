//! Position of a document in its file.

use std::fmt;

/// A position in a file, counted from 1 in the unit of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The whole file is one document.
    File,
    /// A line.
    Line(u64),
    /// An element of an array.
    Element {
        /// Number of the element.
        number: u64,
        /// Line on which the element begins.
        line: u64,
    },
    /// A row of a table.
    Row(u64),
}

impl Place {
    /// Line or row for an [`Origin`](super::Origin).
    pub fn line(self) -> u64 {
        match self {
            Self::File => 1,
            Self::Line(line) | Self::Element { line, .. } | Self::Row(line) => line,
        }
    }

    /// Position of byte `column` of the document, from 1, as text.
    pub(super) fn position(self, column: usize) -> String {
        match self {
            Self::Line(_) => format!("column {column}"),
            Self::File | Self::Element { .. } | Self::Row(_) => format!("byte {column}"),
        }
    }
}

impl fmt::Display for Place {
    /// Text to follow the name of a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(line) => write!(f, " line {line}"),
            Self::Element { number, line } => write!(f, " line {line}, element {number}"),
            Self::Row(row) => write!(f, " row {row}"),
        }
    }
}
