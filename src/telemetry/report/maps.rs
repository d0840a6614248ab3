//! Heat maps of a training run.

use crate::domain::Domain;
use crate::telemetry::record::{RoutingTable, StepRecord};

use super::format::{count, significant};
use super::heat::{Cell, CellSize, HeatMap, Row, Scale};

/// The last `1 / LAST` of the steps count as the end of training.
const LAST: usize = 10;

/// The last tenth of the steps.
fn last_tenth(steps: &[StepRecord]) -> &[StepRecord] {
    &steps[steps.len() - steps.len().div_ceil(LAST)..]
}

/// Load of every expert in every layer over the last tenth of the steps, relative to the layer's mean. `layers` and
/// `domains` label them where they are known.
pub(super) fn expert_load(steps: &[StepRecord], layers: &[String], domains: &[Domain]) -> String {
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
    let layer_name = |layer: usize| match layers.get(layer) {
        Some(name) => name.clone(),
        None => format!("routed layer {}", layer + 1),
    };
    let expert_name = |expert: usize| match domains.get(expert) {
        Some(domain) => format!("{domain} {expert}"),
        None => format!("expert {expert}"),
    };
    // experts of the same domain are adjacent
    let mut order: Vec<usize> = (0..experts).collect();
    order.sort_by_key(|&expert| domains.get(expert).map(|domain| domain.index()));
    let rows = order.into_iter().map(|expert| {
        let name = expert_name(expert);
        let cells = loads.iter().enumerate().map(|(layer, loads)| {
            let load = loads.get(expert).copied().unwrap_or(0);
            let mean = loads.iter().sum::<u64>() as f64 / loads.len().max(1) as f64;
            let relative = if mean > 0.0 { load as f64 / mean } else { 0.0 };
            Cell {
                heat: relative - 1.0,
                text: String::new(),
                hover: format!(
                    "{}, {name}: {relative:.2} times the mean ({} tokens)",
                    layer_name(layer),
                    count(load as f64)
                ),
            }
        });
        Row {
            cells: cells.collect(),
            figure: None,
            name,
        }
    });
    let of_domains = if domains.is_empty() {
        ""
    } else {
        " Every expert belongs to a domain; those of general are open to the tokens of all domains, and balancing leaves \
             them more than the mean."
    };
    HeatMap {
        title: "Load of every expert",
        caption: &format!(
            "A row is an expert, a column a layer: the tokens that visited the expert over the last {} steps, relative to \
             the mean of the layer.{of_domains}",
            window.len()
        ),
        row_axis: "expert",
        column_axis: "layer, counted from 1",
        rows: rows.collect(),
        columns: (0..loads.len()).map(layer_name).collect(),
        cell: CellSize::Fit,
        scale: Scale::Diverging(["no token", "mean", "twice the mean"]),
    }
    .html()
}

/// Choices of each domain's tokens by the experts' domains.
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
                let times = if chance > 0.0 {
                    format!(", {} times chance", significant(share / chance))
                } else {
                    String::new()
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
        let map = expert_load(&steps, &[], &[]);
        assert!(
            map.contains("routed layer 1, expert 0: 1.50 times the mean (15 tokens)"),
            "{map}"
        );
        assert!(map.contains("expert 1: 0.50 times the mean"), "{map}");
    }

    #[test]
    fn experts_stand_by_their_domain_and_layers_by_their_name() {
        let step = StepRecord {
            expert_loads: vec![vec![1, 2, 3], vec![4, 5, 6]],
            ..Default::default()
        };
        let layers = ["layer 3".into(), "MTP 1".into()];
        let domains = [Domain::General, Domain::Code, Domain::General];
        let map = expert_load(&[step], &layers, &domains);
        let place = |text: &str| {
            map.find(&format!(">{text}<"))
                .unwrap_or_else(|| panic!("{map}"))
        };
        assert!(place("code 1") < place("general 0") && place("general 0") < place("general 2"));
        assert!(place("layer 3") < place("MTP 1"));
        assert!(
            map.contains("MTP 1, general 2: 1.20 times the mean (6 tokens)"),
            "{map}"
        );
    }
}
