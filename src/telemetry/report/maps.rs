//! The heat maps: tables out of records.

use crate::domain::Domain;
use crate::telemetry::record::{RoutingTable, StepRecord};

use super::format::{count, significant};
use super::heat::{Cell, CellSize, HeatMap, Row, Scale};

/// Share of the steps over which "at the end" is measured.
const LAST: usize = 10;

/// The last tenth of the steps.
fn last_tenth(steps: &[StepRecord]) -> &[StepRecord] {
    &steps[steps.len() - steps.len().div_ceil(LAST)..]
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

#[cfg(test)]
mod tests {
    use super::*;

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
