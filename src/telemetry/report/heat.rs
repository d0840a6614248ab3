//! Heat maps, as SVG.

use std::fmt::Write;

use super::format::escape;

/// A heat map with its labels.
#[derive(Debug)]
pub(super) struct HeatMap<'a> {
    pub(super) title: &'a str,
    pub(super) caption: &'a str,
    pub(super) row_axis: &'a str,
    pub(super) column_axis: &'a str,
    pub(super) rows: Vec<Row>,
    pub(super) columns: Vec<String>,
    pub(super) cell: CellSize,
    /// Labels of the color scale.
    pub(super) scale: Scale<'a>,
}

/// A row of cells.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// A figure to the right of the row.
    pub(super) figure: Option<String>,
    pub(super) cells: Vec<Cell>,
}

/// A colored cell.
#[derive(Debug)]
pub(super) struct Cell {
    /// Color: -1 (coldest) to 1 (hottest).
    pub(super) heat: f64,
    /// Text in the cell, if the cell is large enough.
    pub(super) text: String,
    /// Text of the tooltip.
    pub(super) hover: String,
}

/// Size of the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellSize {
    /// Large enough for text.
    Text,
    /// Fitted to the width and the number of rows.
    Fit,
}

/// The color scale with its labels, coldest first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale<'a> {
    /// From neutral to hot.
    Rising([&'a str; 2]),
    /// From cold over neutral to hot.
    Diverging([&'a str; 3]),
}

impl HeatMap<'_> {
    /// The map as a `<figure>`; empty without cells.
    pub(super) fn html(&self) -> String {
        let columns = self.columns.len();
        if columns == 0 || self.rows.is_empty() {
            return String::new();
        }
        let longest = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| name.len()).max().unwrap_or(0) as f64
        };
        let left = 30.0 + 6.4 * longest(&mut self.rows.iter().map(|row| &row.name));
        let has_figures = self.rows.iter().any(|row| row.figure.is_some());
        let right = if has_figures { 46.0 } else { 10.0 };
        // the labels at the bottom are rotated by 42 degrees
        let bottom = 40.0 + 4.4 * longest(&mut self.columns.iter());
        let (cell_width, cell_height) = match self.cell {
            CellSize::Text => (27.0, 25.0),
            CellSize::Fit => {
                let width = ((420.0 - left - right) / columns as f64).clamp(10.0, 60.0);
                (width, (420.0 / self.rows.len() as f64).clamp(6.0, 20.0))
            }
        };
        let width = left + right + cell_width * columns as f64;
        let below = 6.0 + cell_height * self.rows.len() as f64;
        let height = below + bottom;

        let mut svg = String::new();
        // labels that would overlap are left out
        let every = |size: f64| (13.0 / size).ceil() as usize;
        for (index, row) in self.rows.iter().enumerate() {
            let y = 6.0 + index as f64 * cell_height;
            let is_named = index.is_multiple_of(every(cell_height));
            let name = if is_named { row.name.as_str() } else { "" };
            self.row(&mut svg, (name, row), (left, y), (cell_width, cell_height));
        }
        for (index, name) in self.columns.iter().enumerate().step_by(every(cell_width)) {
            let x = left + (index as f64 + 0.5) * cell_width;
            let _ = write!(
                svg,
                r#"<text class="tick end" transform="translate({:.1} {:.1}) rotate(-42)">{}</text>"#,
                x + 5.0,
                below + 14.0,
                escape(name)
            );
        }
        let (middle, half) = (left + cell_width * columns as f64 / 2.0, below / 2.0);
        let _ = write!(
            svg,
            r#"<text class="label mid" x="{middle:.1}" y="{:.1}">{}</text><text class="label mid" transform="translate(13 {half:.1}) rotate(-90)">{}</text>"#,
            height - 6.0,
            escape(self.column_axis),
            escape(self.row_axis),
        );
        let (title, caption) = (escape(self.title), escape(self.caption));
        format!(
            r#"<figure class="half heatmap"><figcaption><h3>{title}</h3>{}</figcaption>
<div class="scroll"><svg viewBox="0 0 {width:.0} {height:.0}" style="min-width:{:.0}px;max-width:{:.0}px" role="img" aria-label="{title}. {caption}">{svg}</svg></div>
<p class="note">{caption}</p></figure>
"#,
            self.scale.html(),
            // the smallest readable size
            width * 0.72,
            width * 1.15,
        )
    }

    fn row(&self, svg: &mut String, (name, row): (&str, &Row), at: (f64, f64), size: (f64, f64)) {
        let (left, y) = at;
        let (cell_width, cell_height) = size;
        let baseline = y + cell_height / 2.0 + 4.0;
        let _ = write!(
            svg,
            r#"<text class="tick end" x="{:.1}" y="{baseline:.1}">{}</text>"#,
            left - 7.0,
            escape(name),
        );
        let gap = if cell_width > 8.0 { 1.5 } else { 0.0 };
        for (index, cell) in row.cells.iter().enumerate() {
            let x = left + index as f64 * cell_width;
            let class = if cell.heat < 0.0 { "cold" } else { "hot" };
            let strength = cell.heat.abs().min(1.0);
            let _ = write!(
                svg,
                r#"<g><title>{}</title><rect class="cell" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="2"/><rect class="{class}" fill-opacity="{strength:.3}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="2"/>"#,
                escape(&cell.hover),
                w = cell_width - gap,
                h = cell_height - gap,
            );
            if self.cell == CellSize::Text {
                let tone = if strength > 0.55 { "on" } else { "off" };
                let _ = write!(
                    svg,
                    r#"<text class="value mid {tone}" x="{:.1}" y="{baseline:.1}">{}</text>"#,
                    x + (cell_width - gap) / 2.0,
                    escape(&cell.text),
                );
            }
            svg.push_str("</g>");
        }
        if let Some(figure) = &row.figure {
            let x = left + row.cells.len() as f64 * cell_width + 8.0;
            let _ = write!(
                svg,
                r#"<text class="figure" x="{x:.1}" y="{baseline:.1}">{}</text>"#,
                escape(figure)
            );
        }
    }
}

impl Scale<'_> {
    fn html(self) -> String {
        let (class, labels) = match self {
            Self::Rising([low, high]) => ("rising", vec![low, high]),
            Self::Diverging([low, middle, high]) => ("diverging", vec![low, middle, high]),
        };
        let labels: String = labels
            .into_iter()
            .map(|label| format!("<span>{}</span>", escape(label)))
            .collect();
        format!(r#"<div class="scale {class}"><i></i><div>{labels}</div></div>"#)
    }
}
