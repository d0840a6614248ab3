//! A study of routes as tables for the terminal.

use std::collections::BTreeMap;

use crate::cli::aligned::Table;
use crate::domain::Domain;
use crate::telemetry::{CacheRecord, Chance, ExpertLabel, ExpertName, LayerRoutes, RouteStudy};

/// Cache sizes to show, in percent of all experts.
const SHARES: [usize; 5] = [5, 10, 25, 50, 75];

/// Renders the study as aligned text.
pub(super) fn render(study: &RouteStudy) -> String {
    let told = if study.told_domains {
        "told"
    } else {
        "not told"
    };
    let mut sections = vec![format!(
        "{}, step {}: {} tokens of {} documents, the routers {told} their domains\n",
        study.model, study.step, study.tokens, study.documents
    )];
    sections.push(figures(study));
    sections.push(windows(study));
    sections.push(caches(&study.locality.cache));
    sections.extend(labels(study));
    sections.join("\n")
}

fn figures(study: &RouteStudy) -> String {
    let has_null = study
        .layers
        .iter()
        .any(|layer| !layer.null_visits.is_empty());
    let mut heading = vec!["layer", "experts", "k"];
    heading.extend(has_null.then_some("null"));
    heading.extend([
        "MaxVio",
        "N_eff",
        "route ppl",
        "SSI*",
        "above chance",
        "RSI",
    ]);
    heading.extend(study.against.is_some().then_some("saturation"));
    heading.extend(["MI", "domain NMI", "above chance"]);
    let row = |layer: &LayerRoutes| {
        let it = &layer.figures;
        let mut cells = vec![
            layer.layer.to_string(),
            layer.visits.len().to_string(),
            layer.num_experts_per_tok.to_string(),
        ];
        if has_null {
            let null: u64 = layer.null_visits.iter().sum();
            let all = null + layer.visits.iter().sum::<u64>();
            cells.push(percent(null, all));
        }
        cells.extend([
            figure(it.max_vio, 2),
            figure(it.effective_experts, 1),
            figure(it.route_ppl, 2),
            figure(it.cohesion, 3),
            deviations(it.cohesion_by_chance, it.cohesion),
            figure(it.stability, 3),
        ]);
        if study.against.is_some() {
            cells.push(figure(it.saturation, 3));
        }
        cells.extend([
            figure(it.specialization_nats, 3),
            figure(it.domain_nmi, 3),
            deviations(it.domain_nmi_by_chance, it.domain_nmi),
        ]);
        cells
    };
    Table::of(&heading, study.layers.iter().map(row)).render()
}

/// Number of standard deviations by which a figure exceeds its value under random choices.
fn deviations(chance: Option<Chance>, found: Option<f64>) -> String {
    match Chance::below(chance, found) {
        Some(above) => format!("{above:.0} sd"),
        None => figure(None, 0),
    }
}

fn windows(study: &RouteStudy) -> String {
    let rows = study.locality.windows.iter().map(|window| {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f64> = values.collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        vec![
            window.tokens.to_string(),
            figure(mean(&mut window.distinct.iter().flatten().copied()), 2),
            figure(mean(&mut window.if_independent.iter().copied()), 2),
        ]
    });
    let heading = ["tokens in a row", "experts of a layer", "if independent"];
    Table::headed(heading, rows).render()
}

fn caches(cache: &CacheRecord) -> String {
    let mut sizes: Vec<usize> = SHARES
        .iter()
        .filter_map(|share| {
            let least = (share * cache.experts).div_ceil(100);
            cache.sizes.iter().position(|&size| size >= least)
        })
        .collect();
    sizes.dedup();
    let rows = sizes.into_iter().map(|at| {
        let hits = |of: &[u64]| percent(of[at], cache.visits);
        vec![
            format!("{} of {}", cache.sizes[at], cache.experts),
            hits(&cache.lru_hits),
            hits(&cache.lfu_hits),
            hits(&cache.least_stale_hits),
            hits(&cache.belady_hits),
        ]
    });
    let heading = ["hits of a cache of", "LRU", "LFU", "least-stale", "Belady"];
    Table::headed(heading, rows).render()
}

/// Labels of the experts, one line per layer; `None` without labels.
fn labels(study: &RouteStudy) -> Option<String> {
    let mut layers = study
        .layers
        .iter()
        .filter(|it| !it.labels.is_empty())
        .peekable();
    layers.peek()?;
    let mut text = String::from("experts by name (lift on held-out documents)\n");
    for layer in layers {
        text += &format!("  layer {}: {}\n", layer.layer, named(&layer.labels));
    }
    Some(text)
}

fn named(labels: &[ExpertLabel]) -> String {
    let mut by_domain: BTreeMap<Domain, Vec<String>> = BTreeMap::new();
    let (mut mixed, mut few) = (0, 0);
    for label in labels {
        match label.name {
            ExpertName::Domain(domain) => {
                let lift = figure(label.held_out_lift, 1);
                let named = by_domain.entry(domain).or_default();
                named.push(format!("{} ({lift})", label.expert));
            }
            ExpertName::Mixed => mixed += 1,
            ExpertName::TooFewVisits => few += 1,
        }
    }
    let named = by_domain.into_iter();
    let mut parts: Vec<String> = named
        .map(|(domain, experts)| format!("{domain} {}", experts.join(" ")))
        .collect();
    let of = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    parts.extend(of(mixed, "mixed"));
    parts.extend(of(few, "with too few visits"));
    parts.join(", ")
}

/// A figure, or a dash if it was not measured.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

fn percent(part: u64, of: u64) -> String {
    match of {
        0 => "-".into(),
        of => format!("{:.1} %", 100.0 * part as f64 / of as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_grouped_by_domain_and_the_rest_is_counted() {
        let label = |expert, name| ExpertLabel {
            expert,
            name,
            candidate: None,
            probe_lift: None,
            held_out_lift: Some(1.74),
            held_out_visits: 0,
        };
        let labels = [
            label(0, ExpertName::Domain(Domain::Legal)),
            label(1, ExpertName::Mixed),
            label(2, ExpertName::Domain(Domain::Code)),
            label(3, ExpertName::Domain(Domain::Legal)),
            label(4, ExpertName::TooFewVisits),
        ];
        assert_eq!(
            named(&labels),
            "code 2 (1.7), legal 0 (1.7) 3 (1.7), 1 mixed, 1 with too few visits"
        );
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(figure(None, 2), "-");
        assert_eq!(figure(Some(0.0), 2), "0.00");
        assert_eq!(percent(0, 0), "-");
    }
}
