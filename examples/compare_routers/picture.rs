//! Loss and overload over the steps, averaged over the seeds, as SVG.

use darkhorse_genesis::telemetry::StepRecord;

use crate::figures::Row;

const COLORS: [&str; 5] = ["#c40", "#07c", "#0a7", "#a0a", "#777"];

/// Number of steps that are averaged into a point of the loss, since single steps read single batches.
const SMOOTHED: usize = 20;

/// A chart with its left edge at `left`.
struct Panel {
    title: &'static str,
    left: f64,
    /// Base-10 logarithms.
    range: (f64, f64),
    marks: &'static [f64],
    of: fn(&StepRecord) -> Option<f64>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 180.0;
const TOP: f64 = 40.0;

const PANELS: [Panel; 2] = [
    Panel {
        title: "training loss, nats a token, mean of 20 steps",
        left: 45.0,
        range: (0.55, 0.95),
        marks: &[4.0, 5.0, 6.0, 7.0, 8.0],
        of: |step| Some(step.loss),
    },
    Panel {
        title: "MaxVio over 20 steps",
        left: 405.0,
        range: (-1.7, 1.0),
        marks: &[0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
        of: |step| step.max_vio_global,
    },
];

pub(crate) fn draw(rows: &[Row]) -> String {
    let legend = TOP + HEIGHT + 45.0;
    let height = legend + 16.0 * rows.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 730 {height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='730' height='{height}' fill='white'/>\n"
    );
    for panel in &PANELS {
        svg += &panel.draw(rows);
    }
    for (number, ((name, _), color)) in rows.iter().zip(COLORS).enumerate() {
        let y = legend + 16.0 * number as f64;
        svg += &format!("<text x='60' y='{y}' fill='{color}'>{name}</text>\n");
    }
    svg + "</svg>\n"
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let share = (value.max(1e-9).log10() - low) / (high - low);
        TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
    }

    fn draw(&self, rows: &[Row]) -> String {
        let (left, bottom) = (self.left, TOP + HEIGHT);
        let runs = rows.iter().flat_map(|(_, runs)| runs);
        let steps = runs.map(|run| run.steps.len()).max().unwrap_or(1);
        let x = |step: usize| left + WIDTH * step as f64 / steps as f64;
        let mut svg = format!(
            "<text x='{left}' y='24'>{}</text>\n\
             <path d='M{left} {TOP}V{bottom}H{}' stroke='black' fill='none'/>\n",
            self.title,
            left + WIDTH
        );
        for mark in self.marks {
            svg += &format!(
                "<text x='{}' y='{:.0}' text-anchor='end'>{mark}</text>\n",
                left - 5.0,
                self.y(*mark) + 4.0
            );
        }
        for step in [0, steps / 2, steps] {
            let x = x(step);
            let y = bottom + 16.0;
            svg += &format!("<text x='{x}' y='{y}' text-anchor='middle'>{step}</text>\n");
        }
        for ((_, runs), color) in rows.iter().zip(COLORS) {
            let mean = |from: usize, to: usize| {
                let values = runs.iter().filter_map(|run| run.steps.get(from..to));
                let values: Vec<f64> = values.flatten().filter_map(self.of).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            let points = (SMOOTHED..=steps).step_by(5).filter_map(|step| {
                // MaxVio covers the past 20 steps already, so it is not smoothed
                let from = if self.title.starts_with("MaxVio") {
                    step - 1
                } else {
                    step - SMOOTHED
                };
                Some(format!("{:.1},{:.1}", x(step), self.y(mean(from, step)?)))
            });
            let points = points.collect::<Vec<_>>().join(" ");
            svg += &format!(
                "<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.5'/>\n"
            );
        }
        svg
    }
}
