//! Line charts in SVG. Colors come from the page's style, so that they follow light and dark.

use std::fmt::Write;

use super::format::{escape, ticks};

/// A chart of values over steps.
#[derive(Debug)]
pub(super) struct LineChart<'a> {
    pub(super) title: &'a str,
    /// One sentence for those who cannot see it, and for those who want to know what it is.
    pub(super) caption: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) y_range: Range,
    pub(super) size: Size,
    pub(super) series: Vec<Series>,
}

/// What the vertical axis covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// The values; far outliers at the start (a loss before training) do not squeeze the rest.
    Values,
    /// From zero to the largest value.
    FromZero,
}

/// How much room the chart takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The whole width.
    Wide,
    /// Half of it.
    Half,
}

/// One line.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
}

/// How a line is drawn; the names are classes of `style.css`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// First color, thin and pale: single steps.
    Faint,
    /// First color.
    First,
    /// Second color, with a dot per point.
    Dotted,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Self::Faint => "faint",
            Self::First => "first",
            Self::Dotted => "dotted",
        }
    }
}

const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 46.0;
/// More points than this are averaged in groups: the eye sees no difference.
const MOST_POINTS: usize = 500;

impl LineChart<'_> {
    /// The chart as a `<figure>`; nothing if no series has a point.
    pub(super) fn html(&self) -> String {
        let series: Vec<_> = self.series.iter().map(Series::drawable).collect();
        let Some(bounds) = Bounds::of(&self.series, self.y_range) else {
            return String::new();
        };
        let (width, height) = match self.size {
            Size::Wide => (900.0, 350.0),
            Size::Half => (430.0, 250.0),
        };
        let frame = Frame {
            bounds,
            width,
            height,
        };
        let mut svg = String::new();
        frame.axes(&mut svg, self.x_label, self.y_label);
        for one in &series {
            frame.line(&mut svg, one);
        }
        let legend: String = series
            .iter()
            .map(|one| {
                let (class, name) = (one.look.class(), escape(&one.name));
                format!(r#"<li><i class="key {class}"></i>{name}</li>"#)
            })
            .collect();
        let class = match self.size {
            Size::Wide => "wide",
            Size::Half => "half",
        };
        let (title, caption) = (escape(self.title), escape(self.caption));
        format!(
            r#"<figure class="{class}"><figcaption><h3>{title}</h3><ul class="legend">{legend}</ul></figcaption>
<div class="scroll"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}. {caption}">{svg}</svg></div>
<p class="note">{caption}</p></figure>
"#
        )
    }
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.points.iter().copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// Finite points only, and no more than can be told apart.
    fn drawable(&self) -> Self {
        let finite: Vec<_> = self.finite().collect();
        let points = finite
            .chunks(finite.len().div_ceil(MOST_POINTS).max(1))
            .map(|chunk| {
                let mean = |sum: f64| sum / chunk.len() as f64;
                (
                    mean(chunk.iter().map(|point| point.0).sum()),
                    mean(chunk.iter().map(|point| point.1).sum()),
                )
            })
            .collect();
        Self {
            name: self.name.clone(),
            look: self.look,
            points,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    x: (f64, f64),
    y: (f64, f64),
}

impl Bounds {
    fn of(series: &[Series], range: Range) -> Option<Self> {
        let points = || series.iter().flat_map(Series::finite);
        let extent = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(None, |found: Option<(f64, f64)>, value| {
                let (low, high) = found.unwrap_or((value, value));
                Some((low.min(value), high.max(value)))
            })
        };
        let (first, last) = extent(&mut points().map(|point| point.0))?;
        let (mut low, mut high) = extent(&mut points().map(|point| point.1))?;
        match range {
            Range::FromZero => low = low.min(0.0),
            Range::Values => {
                let mut sorted: Vec<_> = points().map(|point| point.1).collect();
                sorted.sort_by(f64::total_cmp);
                let ninety_eighth = sorted[(sorted.len() - 1) * 98 / 100];
                // leave the rest out only if it would take most of the picture
                if high - low > 2.0 * (ninety_eighth - low) && ninety_eighth > low {
                    high = ninety_eighth;
                }
                low -= 0.04 * (high - low);
            }
        }
        high += 0.05 * (high - low);
        if high <= low {
            high = low + low.abs().max(1.0) * 0.1;
        }
        Some(Self {
            x: (first.min(0.0), last),
            y: (low, high),
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    bounds: Bounds,
    width: f64,
    height: f64,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.bounds.x;
        let span = if high > low { high - low } else { 1.0 };
        LEFT + (value - low) / span * (self.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.bounds.y;
        let share = ((value - low) / (high - low)).min(1.0);
        TOP + (1.0 - share) * (self.height - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String, x_label: &str, y_label: &str) {
        let bottom = self.height - BOTTOM;
        let right = self.width - RIGHT;
        for (value, label) in ticks(self.bounds.y.0, self.bounds.y.1, 5) {
            let y = self.y(value);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/><text class="tick end" x="{:.1}" y="{:.1}">{label}</text>"#,
                LEFT - 8.0,
                y + 4.0,
            );
        }
        let wanted = (self.width / 110.0) as usize;
        for (value, label) in ticks(self.bounds.x.0, self.bounds.x.1, wanted) {
            let x = self.x(value);
            // a label at the very end would be cut
            let side = if x + 24.0 > right { "end" } else { "mid" };
            let _ = write!(
                svg,
                r#"<path class="axis" d="M{x:.1} {bottom}v5"/><text class="tick {side}" x="{x:.1}" y="{:.1}">{label}</text>"#,
                bottom + 18.0,
            );
        }
        let middle = (LEFT + right) / 2.0;
        let half = (TOP + bottom) / 2.0;
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {bottom}H{right}"/><text class="label mid" x="{middle:.1}" y="{:.1}">{}</text><text class="label mid" transform="translate(13 {half:.1}) rotate(-90)">{}</text>"#,
            self.height - 7.0,
            escape(x_label),
            escape(y_label),
        );
    }

    fn line(&self, svg: &mut String, series: &Series) {
        let class = series.look.class();
        let mut path = String::new();
        for (index, &(x, y)) in series.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(x), self.y(y));
        }
        let _ = write!(svg, r#"<path class="line {class}" d="{path}"/>"#);
        if series.look == Look::Dotted || series.points.len() == 1 {
            for &(x, y) in &series.points {
                let _ = write!(
                    svg,
                    r#"<circle class="dot {class}" cx="{:.1}" cy="{:.1}" r="3"><title>{}</title></circle>"#,
                    self.x(x),
                    self.y(y),
                    format_args!("{x:.0}: {y:.4}"),
                );
            }
        }
    }
}
