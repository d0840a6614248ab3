//! `routes.html`: the report of a study of routes.

use crate::telemetry::routes::{CacheRecord, LayerRoutes, RouteStudy};

use super::document::{Document, section};
use super::format::{count, escape, significant};
use super::heat::{Cell, CellSize, HeatMap, Row, Scale};
use super::line::{LineChart, Look, Range, Series, Size};
use super::routes_tables::{TERMS, figures, names, tokens, windows};

/// Renders the page as one HTML file.
pub fn render(study: &RouteStudy) -> String {
    let body = [
        section(
            "Layers",
            "Each layer's router is measured on its own; what could not be measured is a dash.",
            &(figures(study) + TERMS),
        ),
        section("Loads", "", &loads(study)),
        domains(study),
        section(
            "Names of experts",
            "A name is computed: the domain whose tokens visit the expert most above the rate of all tokens, found on one half \
             of the documents. It holds if that lift is at least 1.5 on the other half too, with at least 1000 visits there; \
             else the expert is mixed. Experts of real models are specialized in syntax more than in subjects, so expect few names.",
            &(names(study) + &tokens(study)),
        ),
        section(
            "Locality",
            "Engines that keep experts on a disk or in another memory live by how few of them a stretch of text needs.",
            &(windows(study) + &cache(&study.locality.cache)),
        ),
    ]
    .concat();
    Document {
        title: &study.model,
        kind: "study of routes",
        lead: &lead(study),
        tiles: &tiles(study),
        body: &body,
        footer: concat!(
            "Written by darkhorse-genesis ",
            env!("CARGO_PKG_VERSION"),
            "; routes.json beside this page has every number. Entropies are in nats (natural logarithm)."
        ),
        live: None,
    }
    .html()
}

fn lead(study: &RouteStudy) -> String {
    let data: Vec<String> = study.data.iter().map(|it| escape(it)).collect();
    let told = if study.told_domains {
        "are told"
    } else {
        "are not told"
    };
    format!(
        "Step {}, read {} tokens of {} with the true text before every token. The routers {told} the domains of documents.",
        study.step,
        count(study.tokens as f64),
        data.join(", ")
    )
}

fn tiles(study: &RouteStudy) -> String {
    let tile = |name: &str, value: String, note: &str| {
        format!("<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>\n")
    };
    let first = study.layers.first();
    let experts = first.map_or(0, |layer| layer.visits.len());
    let chosen = first.map_or(0, |layer| layer.num_experts_per_tok);
    let domains = study.domain_tokens.len();
    format!(
        "<dl class=\"tiles\">\n{}{}{}{}</dl>\n",
        tile(
            "Tokens",
            count(study.tokens as f64),
            &format!("of {} documents", count(study.documents as f64)),
        ),
        tile("Layers that route", count(study.layers.len() as f64), ""),
        tile(
            "Experts of a layer",
            count(experts as f64),
            &format!("a token chooses {chosen}"),
        ),
        tile("Domains", count(domains as f64), "that documents name"),
    )
}

/// Visits to every expert in every layer, relative to the layer's mean.
fn loads(study: &RouteStudy) -> String {
    let experts = study.layers.iter().map(|layer| layer.visits.len());
    let experts = experts.max().unwrap_or(0);
    let rows = (0..experts).map(|expert| {
        let cells = study.layers.iter().map(|layer| {
            let visits = layer.visits.get(expert).copied().unwrap_or(0);
            let mean = layer.visits.iter().sum::<u64>() as f64 / layer.visits.len().max(1) as f64;
            let relative = if mean > 0.0 {
                visits as f64 / mean
            } else {
                0.0
            };
            Cell {
                heat: relative - 1.0,
                text: String::new(),
                hover: format!(
                    "layer {}, expert {expert}: {relative:.2} times the mean ({} tokens)",
                    layer.layer,
                    count(visits as f64)
                ),
            }
        });
        Row {
            name: format!("expert {expert}"),
            figure: None,
            cells: cells.collect(),
        }
    });
    HeatMap {
        title: "Load of every expert",
        caption: "A row is an expert, a column a layer: the tokens that visited the expert, relative to the mean of the layer.",
        row_axis: "expert",
        column_axis: "layer, counted from 1",
        rows: rows.collect(),
        columns: study.layers.iter().map(|layer| format!("layer {}", layer.layer)).collect(),
        cell: CellSize::Fit,
        scale: Scale::Diverging(["no token", "mean", "twice the mean"]),
    }
    .html()
}

/// Lift of each domain at each expert; empty for fewer than two domains.
fn domains(study: &RouteStudy) -> String {
    if study.domain_tokens.len() < 2 {
        return String::new();
    }
    let maps: String = study
        .layers
        .iter()
        .map(|layer| domain_map(study, layer))
        .collect();
    section(
        "Domains and experts",
        "The lift of a domain at an expert: how many times as often as all tokens its tokens visit the expert. A router that \
         knows nothing of domains has 1 everywhere, but for chance.",
        &format!("<div class=\"grid2\">{maps}</div>\n"),
    )
}

fn domain_map(study: &RouteStudy, layer: &LayerRoutes) -> String {
    let experts = layer.visits.len();
    let of_all = |expert: usize| -> u64 {
        let rows = layer.domain_visits.iter();
        rows.filter_map(|row| row.get(expert)).sum()
    };
    let all: u64 = layer.domain_visits.iter().flatten().sum();
    let rows = study.domain_tokens.iter().zip(&layer.domain_visits);
    let rows = rows.map(|(domain, visits)| {
        let of_domain: u64 = visits.iter().sum();
        let cells = visits.iter().enumerate().map(|(expert, &count)| {
            let of_expert = of_all(expert);
            let lift = (of_domain > 0 && of_expert > 0)
                .then(|| count as f64 / of_domain as f64 * all as f64 / of_expert as f64);
            Cell {
                heat: lift.map_or(0.0, |lift| lift.log2().clamp(-1.0, 1.0)),
                text: String::new(),
                hover: format!(
                    "{}, expert {expert}: lift {} ({count} visits)",
                    domain.domain,
                    lift.map_or("–".into(), significant)
                ),
            }
        });
        Row {
            name: domain.domain.name().into(),
            figure: None,
            cells: cells.collect(),
        }
    });
    HeatMap {
        title: &format!("Layer {}", layer.layer),
        caption: "A row is a domain, a column an expert.",
        row_axis: "domain of the document",
        column_axis: "expert",
        rows: rows.collect(),
        columns: (0..experts).map(|expert| expert.to_string()).collect(),
        cell: CellSize::Fit,
        scale: Scale::Diverging(["half or less", "as all", "twice or more"]),
    }
    .html()
}

/// Hit rates of caches by size.
fn cache(record: &CacheRecord) -> String {
    let series = |name: &str, look, hits: &[u64]| {
        let points = record.sizes.iter().zip(hits);
        let share = |hits: u64| 100.0 * hits as f64 / record.visits.max(1) as f64;
        Series {
            name: name.into(),
            look,
            points: points
                .map(|(&size, &hits)| (size as f64, share(hits)))
                .collect(),
        }
    };
    LineChart {
        title: "Hits of a cache of experts",
        caption: &format!(
            "Share of {} visits that find their expert in a cache which holds so many of the model's {} experts and begins \
             empty, replayed exactly: {} tokens one after the other as in decoding, each layer by layer. A full cache gives up \
             the least recently used (LRU), the least frequently used (LFU), or that of the layer which comes up again last \
             (least-stale). Belady's optimum gives up what is needed again last: it knows the future, so nothing can do better.",
            count(record.visits as f64),
            record.experts,
            count(record.tokens as f64),
        ),
        x_label: "experts in the cache",
        y_label: "hits, %",
        y_range: Range::FromZero,
        size: Size::Wide,
        series: vec![
            series("Belady's optimum", Look::Bound, &record.belady_hits),
            series("least-stale", Look::Third, &record.least_stale_hits),
            series("LFU", Look::Second, &record.lfu_hits),
            series("LRU", Look::First, &record.lru_hits),
        ],
    }
    .html()
}

#[cfg(test)]
mod tests {
    use super::super::sample::assert_well_formed;
    use super::*;
    use crate::domain::Domain;
    use crate::telemetry::{
        DomainTokens, ExpertLabel, ExpertName, Locality, RouteFigures, WindowRecord,
    };

    fn study() -> RouteStudy {
        let layer = |layer: usize| LayerRoutes {
            layer,
            num_experts_per_tok: 2,
            visits: vec![30, 10, 20, 20],
            null_visits: vec![20],
            domain_visits: vec![vec![24, 4, 10, 2], vec![6, 6, 10, 18]],
            figures: RouteFigures {
                max_vio: Some(0.5),
                cohesion: Some(0.123),
                ..Default::default()
            },
            top_tokens: vec![vec![" <b>".into()]],
            labels: vec![ExpertLabel {
                expert: 0,
                name: ExpertName::Domain(Domain::Code),
                candidate: Some(Domain::Code),
                probe_lift: Some(1.7),
                held_out_lift: Some(1.6),
                held_out_visits: 1200,
            }],
        };
        RouteStudy {
            model: "runs/<tiny>".into(),
            step: 300,
            data: vec!["valid.jsonl".into()],
            documents: 12,
            tokens: 50,
            domain_tokens: [Domain::Code, Domain::Legal]
                .map(|domain| DomainTokens { domain, tokens: 25 })
                .to_vec(),
            layers: vec![layer(2), layer(3)],
            locality: Locality {
                windows: vec![WindowRecord {
                    tokens: 16,
                    distinct: vec![Some(3.25), None],
                    if_independent: vec![3.5, 3.5],
                }],
                cache: CacheRecord {
                    tokens: 50,
                    visits: 80,
                    experts: 8,
                    sizes: vec![4, 8],
                    lru_hits: vec![20, 72],
                    lfu_hits: vec![24, 72],
                    least_stale_hits: vec![30, 72],
                    belady_hits: vec![40, 72],
                },
            },
            ..Default::default()
        }
    }

    #[test]
    fn every_part_of_a_study_is_on_its_page() {
        let html = render(&study());
        assert_well_formed(&html);
        for part in [
            "runs/&lt;tiny&gt;",
            "layer 2, expert 0: 1.50 times the mean (30 tokens)",
            // (24 of 40) / (30 of 80)
            "code, expert 0: lift 1.60 (24 visits)",
            "<td>0.123</td>",
            "3.25",
            "Belady's optimum",
            "<td>code</td>",
            "<code>␣&lt;b&gt;</code>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("NaN"));
    }

    #[test]
    fn what_was_not_measured_has_no_figure_and_no_map() {
        let mut study = study();
        study.domain_tokens.clear();
        for layer in &mut study.layers {
            layer.domain_visits.clear();
            layer.labels.clear();
            layer.top_tokens.clear();
            layer.figures = RouteFigures::default();
        }
        let html = render(&study);
        assert_well_formed(&html);
        assert!(!html.contains("Domains and experts") && !html.contains("Names of experts"));
        assert_well_formed(&render(&RouteStudy::default()));
    }
}
