//! What the pictures show: series and tables out of records.

use crate::domain::Domain;
use crate::telemetry::record::{EvalRecord, RoutingTable, StepRecord};

use super::format::{count, significant};
use super::heat::{Cell, CellSize, HeatMap, Row, Scale};
use super::line::{LineChart, Look, Range, Series, Size};

/// Share of the steps over which "at the end" is measured.
const LAST: usize = 10;

/// The last tenth of the steps.
pub(super) fn last_tenth(steps: &[StepRecord]) -> &[StepRecord] {
    &steps[steps.len() - steps.len().div_ceil(LAST)..]
}

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

/// MaxVio per step and over a window.
pub(super) fn max_vio(steps: &[StepRecord]) -> String {
    let batch = points(steps, |step| step.max_vio_batch);
    let window = points(steps, |step| step.max_vio_global);
    chart(
        "Load violation",
        "MaxVio: how much more than its target the busiest expert of the worst layer took. 0 is balance, \
         1 is twice the target.",
        "MaxVio",
        Range::FromZero,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, batch),
            series_of("over a window", Look::First, window),
        ],
    )
}

/// Tokens per second.
pub(super) fn speed(steps: &[StepRecord]) -> String {
    let raw = points(steps, |step| Some(step.tokens_per_s));
    let mean = smooth(&raw, (steps.len() / 40).max(1));
    chart(
        "Speed",
        "Tokens trained on per second of wall time, without evaluations and saves.",
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
        "Norm of the whole gradient before clipping.",
        "gradient norm",
        Range::Values,
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
        "Loss of the modules that predict the tokens after the next, averaged over depths, unweighted.",
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
        "Measured energy per token trained on.",
        "millijoules per token",
        Range::FromZero,
        Size::Half,
        vec![
            series_of("each step", Look::Faint, raw),
            series_of("mean", Look::First, mean),
        ],
    )
}

/// Load of every expert of every layer, relative to the layer's mean, over the last tenth of the steps.
pub(super) fn expert_load(steps: &[StepRecord]) -> String {
    let window = last_tenth(steps);
    let Some(shape) = window.last().map(|step| &step.expert_loads) else {
        return String::new();
    };
    let mut loads: Vec<Vec<u64>> = shape.iter().map(|layer| vec![0; layer.len()]).collect();
    for step in window {
        for (sums, layer) in loads.iter_mut().zip(&step.expert_loads) {
            for (sum, load) in sums.iter_mut().zip(layer) {
                *sum += load;
            }
        }
    }
    let experts = loads.iter().map(Vec::len).max().unwrap_or(0);
    let rows = loads.iter().enumerate().map(|(layer, loads)| {
        let mean = loads.iter().sum::<u64>() as f64 / loads.len().max(1) as f64;
        let cells = loads.iter().enumerate().map(|(expert, &load)| {
            let relative = if mean > 0.0 { load as f64 / mean } else { 0.0 };
            Cell {
                heat: relative - 1.0,
                text: String::new(),
                hover: format!(
                    "MoE layer {layer}, expert {expert}: {relative:.2} times the mean ({} tokens)",
                    count(load as f64)
                ),
            }
        });
        Row {
            name: layer.to_string(),
            figure: None,
            cells: cells.collect(),
        }
    });
    HeatMap {
        title: "Load of every expert",
        caption: &format!(
            "Tokens that visited each expert, relative to the mean of its layer, over the last {} steps.",
            window.len()
        ),
        row_axis: "MoE layer",
        column_axis: "expert",
        rows: rows.collect(),
        columns: (0..experts).map(|expert| expert.to_string()).collect(),
        cell: CellSize::Fit,
        scale: Scale::Diverging(["no token", "mean", "twice the mean"]),
    }
    .html()
}

/// Which domain's experts the tokens of each domain visit.
pub(super) fn routing(title: &str, caption: &str, table: &RoutingTable) -> String {
    let hottest = table.share.iter().flatten().copied().fold(0.0, f64::max);
    let names = || {
        Domain::ALL
            .into_iter()
            .map(|domain| domain.name().to_string())
    };
    let rows = Domain::ALL
        .into_iter()
        .zip(&table.share)
        .map(|(domain, row)| {
            let cells = Domain::ALL.into_iter().zip(row).map(|(to, &share)| {
                let chance = table.chance.get(to.index()).copied().unwrap_or(0.0);
                let times = match chance > 0.0 {
                    true => format!(", {} times chance", significant(share / chance)),
                    false => String::new(),
                };
                Cell {
                    heat: if hottest > 0.0 { share / hottest } else { 0.0 },
                    text: format!("{:.0}", share * 100.0),
                    hover: format!(
                        "{:.1} % of the choices for {domain} tokens fall on {to} experts{times}",
                        share * 100.0
                    ),
                }
            });
            Row {
                name: domain.name().into(),
                figure: table.lift(domain).map(|lift| format!("×{lift:.2}")),
                cells: cells.collect(),
            }
        });
    HeatMap {
        title,
        caption,
        row_axis: "domain of the token",
        column_axis: "domain of the expert",
        rows: rows.collect(),
        columns: names().collect(),
        cell: CellSize::Text,
        scale: Scale::Rising(["0 %", &format!("{:.0} %", hottest * 100.0)]),
    }
    .html()
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

/// The mean of each value and those before it, `window` in all.
fn smooth(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
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

    #[test]
    fn the_last_tenth_of_a_short_run_is_its_last_step() {
        let steps = vec![StepRecord::default(); 3];
        assert_eq!(last_tenth(&steps).len(), 1);
        assert_eq!(last_tenth(&[]).len(), 0);
    }

    #[test]
    fn loads_are_summed_over_the_last_tenth_and_relative_to_the_mean() {
        let mut steps = vec![StepRecord::default(); 20];
        for step in &mut steps {
            step.expert_loads = vec![vec![999, 0]];
        }
        steps[18].expert_loads = vec![vec![10, 0]];
        steps[19].expert_loads = vec![vec![5, 5]];
        let map = expert_load(&steps);
        assert!(
            map.contains("expert 0: 1.50 times the mean (15 tokens)"),
            "{map}"
        );
        assert!(map.contains("expert 1: 0.50 times the mean"), "{map}");
    }
}
