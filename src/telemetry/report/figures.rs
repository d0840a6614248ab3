//! Line charts of a training run.

use crate::telemetry::record::{EvalRecord, StepRecord};

use super::line::{LineChart, Look, Range, Series, Size};

/// Training loss, smoothed, and loss on held-out text.
pub(super) fn loss(steps: &[StepRecord], evals: &[EvalRecord]) -> String {
    let raw = points(steps, |step| Some(step.loss));
    let window = (steps.len() / 40).max(1);
    let valid = evals.iter().map(|eval| (eval.step as f64, eval.loss));
    let mut series = Vec::new();
    let mut caption = String::from("Next-token loss of every optimizer step");
    if window > 1 {
        caption += &format!(" and its mean over the {window} steps before");
        series.push(series_of("train, each step", Look::Faint, raw.clone()));
        series.push(series_of("train, mean", Look::First, smooth(&raw, window)));
    } else {
        series.push(series_of("train", Look::First, raw));
    }
    if !evals.is_empty() {
        caption += ", and the loss on held-out text";
        series.push(series_of("valid", Look::Dotted, valid.collect()));
    }
    caption += ".";
    chart(
        "Loss",
        &caption,
        "loss (nats per token)",
        Range::Values,
        Size::Wide,
        series,
    )
}

/// MaxVio per step and over a window of steps.
pub(super) fn max_vio(steps: &[StepRecord]) -> String {
    let batch = points(steps, |step| step.max_vio_batch);
    let window = points(steps, |step| step.max_vio_global);
    chart(
        "Load violation",
        "MaxVio: how much more than its target the busiest expert of the worst layer took. 0 is balance, \
         1 is twice the target. Of each step, and of the loads of the last 20 steps together.",
        "MaxVio",
        Range::FromZero,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, batch),
            series_of("over 20 steps", Look::First, window),
        ],
    )
}

/// Training speed, in tokens per second.
pub(super) fn speed(steps: &[StepRecord]) -> String {
    let raw = points(steps, |step| Some(step.tokens_per_s));
    let mean = smooth(&raw, (steps.len() / 40).max(1));
    chart(
        "Speed",
        "Tokens trained on per second of wall time, without evaluations and saves: of each step, and the mean over the steps before.",
        "tokens per second",
        Range::FromZero,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, raw),
            series_of("mean", Look::First, mean),
        ],
    )
}

/// Learning rate.
pub(super) fn learning_rate(steps: &[StepRecord]) -> String {
    let rate = points(steps, |step| Some(step.lr));
    chart(
        "Learning rate",
        "The rate that the schedule gave to each step.",
        "learning rate",
        Range::FromZero,
        Size::Half,
        vec![series_of("learning rate", Look::First, rate)],
    )
}

/// Norm of the gradient.
pub(super) fn grad_norm(steps: &[StepRecord]) -> String {
    let raw = points(steps, |step| Some(step.grad_norm));
    let mean = smooth(&raw, (steps.len() / 40).max(1));
    chart(
        "Gradient norm",
        "Norm of the whole gradient of every step before clipping, and its mean over the steps before.",
        "gradient norm",
        Range::Spiky,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, raw),
            series_of("mean", Look::First, mean),
        ],
    )
}

/// Loss of the multi-token prediction modules.
pub(super) fn mtp_loss(steps: &[StepRecord]) -> String {
    let raw = points(steps, |step| step.mtp_loss);
    let mean = smooth(&raw, (steps.len() / 40).max(1));
    chart(
        "Multi-token prediction",
        "Loss of the modules that predict the tokens after the next, averaged over depths, unweighted: of each step, and the mean over the steps before.",
        "loss (nats per token)",
        Range::Values,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, raw),
            series_of("mean", Look::First, mean),
        ],
    )
}

/// Energy per token.
pub(super) fn energy(steps: &[StepRecord]) -> String {
    let raw = points(steps, |step| {
        let tokens = step.tokens_per_s * step.duration_s;
        (tokens > 0.0).then_some(step.energy_j? / tokens * 1e3)
    });
    let mean = smooth(&raw, (steps.len() / 40).max(1));
    chart(
        "Energy",
        "Measured energy per token trained on: of each step, and the mean over the steps before.",
        "millijoules per token",
        Range::FromZero,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, raw),
            series_of("mean", Look::First, mean),
        ],
    )
}

fn chart(
    title: &str,
    caption: &str,
    y_label: &str,
    y_range: Range,
    size: Size,
    series: Vec<Series>,
) -> String {
    let chart = LineChart {
        title,
        caption,
        x_label: "optimizer step",
        y_label,
        y_range,
        size,
        series: series
            .into_iter()
            .filter(|one| !one.points.is_empty())
            .collect(),
    };
    chart.html()
}

fn series_of(name: &str, look: Look, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.into(),
        look,
        points,
    }
}

fn points(steps: &[StepRecord], value: impl Fn(&StepRecord) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = steps.iter();
    points
        .filter_map(|step| Some((step.step as f64, value(step)?)))
        .collect()
}

/// Moving average of each value and the values before it, over `window` points.
pub(super) fn smooth(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let smoothed = points.iter().enumerate().map(|(index, &(x, _))| {
        let last = &points[(index + 1).saturating_sub(window)..=index];
        (
            x,
            last.iter().map(|point| point.1).sum::<f64>() / last.len() as f64,
        )
    });
    smoothed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_looks_back_only() {
        let points = [(1.0, 4.0), (2.0, 2.0), (3.0, 0.0)];
        assert_eq!(smooth(&points, 2), [(1.0, 4.0), (2.0, 3.0), (3.0, 1.0)]);
    }
}
