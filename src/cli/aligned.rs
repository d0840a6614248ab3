//! Aligned tables for the terminal.

/// A table of text cells: the first column is left-aligned, the others are right-aligned.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table whose number of columns is known at compile time.
    pub(crate) fn headed<const N: usize>(
        heading: [&str; N],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        Self::of(&heading, rows)
    }

    /// A table with these column headings.
    pub(crate) fn of(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let heading = heading.iter().map(ToString::to_string).collect();
        Self(std::iter::once(heading).chain(rows).collect())
    }

    /// Renders the table as lines.
    pub(crate) fn render(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in self.0.iter().enumerate() {
            // rows are indented under their heading
            let indent = if number == 0 { "" } else { "  " };
            let mut line = format!("{indent}{:<1$}", row[0], widths[0] + 2 - indent.len());
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                line += &format!("  {cell:>width$}");
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["long", "100,000"]].map(|row| row.map(String::from).to_vec());
        let text = Table::headed(["head", "n"], rows).render();
        assert_eq!(text, "head          n\n  a           1\n  long  100,000\n");
    }
}
