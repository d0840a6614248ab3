//! Line charts, as SVG. Colors come from the page's style, which follows light and dark mode.

use std::fmt::Write;

use super::format::{escape, plain, ticks};

/// A line chart of values over steps.
#[derive(Debug)]
pub(super) struct LineChart<'a> {
    pub(super) title: &'a str,
    /// One sentence that describes the chart, also for readers who cannot see it.
    pub(super) caption: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) y_range: Range,
    pub(super) size: Size,
    pub(super) series: Vec<Series>,
}

/// Range of the vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// From the smallest to the largest value.
    Values,
    /// From zero to the largest value.
    FromZero,
    /// All values, on a logarithmic axis if one is far above the others.
    Spiky,
}

/// Width of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// The full width of the page.
    Wide,
    /// Half of the width.
    Half,
}

/// A line.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
}

/// Style of a line; the names are classes of `style.css`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// First color, thin and pale, for single steps.
    Faint,
    /// First color.
    First,
    /// Second color, with a dot per point.
    Dotted,
    /// Second color.
    Second,
    /// Third color.
    Third,
    /// Text color, dashed, for a bound.
    Bound,
    /// Color of one of several runs, by its number.
    Run(usize),
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Self::Faint => "faint",
            Self::First => "first",
            Self::Dotted => "dotted",
            Self::Second => "second",
            Self::Third => "third",
            Self::Bound => "bound",
            Self::Run(number) => RUNS[number % RUNS.len()],
        }
    }
}

/// Classes of runs.
const RUNS: [&str; 8] = [
    "run0", "run1", "run2", "run3", "run4", "run5", "run6", "run7",
];
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 46.0;
/// Largest number of points drawn; of more, only the minimum and the maximum of each group are drawn, which looks the
/// same.
const MOST_POINTS: usize = 500;
/// Ratio of a value to the median above which the axis becomes logarithmic.
const SPIKE: f64 = 12.0;

impl LineChart<'_> {
    /// The chart as a `<figure>`; empty if no series has a point.
    pub(super) fn html(&self) -> String {
        let series: Vec<_> = self.series.iter().map(Series::drawable).collect();
        let Some(bounds) = Bounds::of(&self.series, self.y_range) else {
            return String::new();
        };
        let (title, caption) = (escape(self.title), escape(self.caption));
        let picture = |name: &str, width: f64, height: f64| {
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
            format!(
                r#"<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}. {caption}">{svg}</svg>"#
            )
        };
        // text has a fixed size, so a wide chart has a narrow form for narrow screens
        let pictures = match self.size {
            Size::Wide => picture("broad", 900.0, 350.0) + &picture("narrow", 430.0, 300.0),
            Size::Half => picture("", 430.0, 250.0),
        };
        let powers = if bounds.powers {
            " The axis is in powers of ten."
        } else {
            ""
        };
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
        format!(
            r#"<figure class="{class}"><figcaption><h3>{title}</h3><ul class="legend">{legend}</ul></figcaption>
{pictures}
<p class="note">{caption}{powers}</p></figure>
"#
        )
    }
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.points.iter().copied();
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    /// The series with finite points only, thinned to [`MOST_POINTS`].
    fn drawable(&self) -> Self {
        let finite: Vec<_> = self.finite().collect();
        let points = match finite.len() {
            ..=MOST_POINTS => finite,
            many => finite
                .chunks(many.div_ceil(MOST_POINTS / 2))
                .flat_map(extremes)
                .collect(),
        };
        Self {
            name: self.name.clone(),
            look: self.look,
            points,
        }
    }
}

/// The points with the lowest and the highest value, in order.
fn extremes(chunk: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let mut found: Vec<_> = [chunk.iter().min_by(by_value), chunk.iter().max_by(by_value)]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.dedup();
    found
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    x: (f64, f64),
    /// Base-10 logarithms if the axis is logarithmic.
    y: (f64, f64),
    powers: bool,
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
        let mut powers = false;
        match range {
            Range::FromZero => low = low.min(0.0),
            Range::Values => low -= 0.04 * (high - low),
            Range::Spiky => {
                let mut sorted: Vec<_> = points().map(|point| point.1).collect();
                sorted.sort_by(f64::total_cmp);
                powers = low > 0.0 && high > SPIKE * sorted[sorted.len() / 2];
                if powers {
                    (low, high) = (low.log10(), high.log10());
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
            powers,
        })
    }
}

/// Ticks between two base-10 logarithms: 1, 2 and 5 times the powers of ten, or the powers alone if there are many.
fn powers_of_ten(low: f64, high: f64) -> Vec<(f64, String)> {
    let factors: &[f64] = if high - low > 2.5 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let powers = (low.floor() as i32)..=(high.ceil() as i32);
    let values =
        powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    let within = values.filter(|value| (low..=high).contains(&value.log10()));
    within.map(|value| (value, plain(value))).collect()
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
        let value = if self.bounds.powers {
            value.log10()
        } else {
            value
        };
        let share = (value - low) / (high - low);
        TOP + (1.0 - share) * (self.height - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String, x_label: &str, y_label: &str) {
        let bottom = self.height - BOTTOM;
        let right = self.width - RIGHT;
        let (low, high) = self.bounds.y;
        let steps = if self.bounds.powers {
            powers_of_ten(low, high)
        } else {
            ticks(low, high, 5)
        };
        for (value, label) in steps {
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
            // a centered label at the right end would be cut off
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

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: Vec<(f64, f64)>) -> Series {
        Series {
            name: "one".into(),
            look: Look::First,
            points,
        }
    }

    /// Values with one spike among them.
    fn spiky(count: usize, at: usize, spike: f64) -> Series {
        let value = |step| {
            if step == at {
                spike
            } else {
                1.0 + (step % 7) as f64 / 10.0
            }
        };
        series((0..count).map(|step| (step as f64, value(step))).collect())
    }

    #[test]
    fn no_axis_cuts_a_spike_off() {
        for range in [Range::Values, Range::FromZero, Range::Spiky] {
            for (count, spike) in [(3, 2.0), (100, 86.9), (100, 9.4), (5000, 1e6)] {
                let one = spiky(count, count / 2, spike);
                let bounds = Bounds::of(std::slice::from_ref(&one), range).unwrap();
                let frame = Frame {
                    bounds,
                    width: 430.0,
                    height: 250.0,
                };
                let drawn = one.drawable().points;
                assert!(drawn.len() <= MOST_POINTS, "{}", drawn.len());
                assert!(
                    drawn.contains(&((count / 2) as f64, spike)),
                    "{range:?} {count}"
                );
                let heights = drawn.iter().map(|&(_, y)| frame.y(y));
                let inside = |y: f64| (TOP..=250.0 - BOTTOM).contains(&y);
                assert!(heights.into_iter().all(inside), "{range:?} {count}");
            }
        }
    }

    #[test]
    fn powers_of_ten_stand_where_a_spike_would_flatten_the_rest() {
        let powers = |spike| {
            Bounds::of(&[spiky(100, 31, spike)], Range::Spiky)
                .unwrap()
                .powers
        };
        assert!(powers(86.9) && !powers(5.0));
        let labels: Vec<_> = powers_of_ten(-0.1, 2.0)
            .into_iter()
            .map(|it| it.1)
            .collect();
        assert_eq!(labels, ["1", "2", "5", "10", "20", "50", "100"]);
        let labels: Vec<_> = powers_of_ten(-2.1, 4.0)
            .into_iter()
            .map(|it| it.1)
            .collect();
        assert_eq!(labels, ["0.01", "0.1", "1", "10", "100", "1e3", "1e4"]);
        let zero = series(vec![(0.0, 0.0), (1.0, 1.0), (2.0, 100.0)]);
        assert!(!Bounds::of(&[zero], Range::Spiky).unwrap().powers);
    }
}
