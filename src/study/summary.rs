//! Figures from a record of routes.

use super::chance::chance;
use super::cohesion::cohesion;
use super::information::{dependence, effective_number, entropy};
use super::labels::{DomainTable, label};
use super::legacy::legacy;
use super::locality;
use super::observe::{LayerObservation, Observation, StudyError};
use super::overlap::overlap;
use super::top_tokens::top_tokens;
use crate::domain::Domain;
use crate::telemetry::{DomainTokens, LayerRoutes, RouteFigures, RouteStudy};

/// Number of tokens for StructuredDNA's metrics, as in the publication: their cost is quadratic in it.
const LEGACY_TOKENS: usize = 400;

/// Description of a study, for its report.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    /// Name of the model, as the user gave it.
    pub model: String,
    /// Optimizer steps that the model was trained for.
    pub step: u64,
    /// Files of the text.
    pub data: Vec<String>,
    /// Whether the routers were told the documents' domains.
    pub told_domains: bool,
    /// Name of the other checkpoint, as the user gave it.
    pub against: Option<String>,
}

/// Computes the figures of an observation, and those of a comparison if another model has read the same text.
/// `text_of` returns the text of a token.
///
/// # Errors
///
/// [`StudyError::Unlike`] if the other model has other layers or experts, or has read another text.
pub fn summarize(
    about: About,
    observation: &Observation,
    against: Option<&Observation>,
    text_of: impl Fn(u32) -> String,
) -> Result<RouteStudy, StudyError> {
    if let Some(other) = against {
        check_alike(observation, other)?;
    }
    let domain_tokens: Vec<DomainTokens> = Domain::ALL
        .into_iter()
        .map(|domain| {
            let tokens = observation.domains.iter();
            let tokens = tokens.filter(|&&it| it == Some(domain)).count() as u64;
            DomainTokens { domain, tokens }
        })
        .filter(|it| it.tokens > 0)
        .collect();
    let layers = observation.layers.iter().enumerate().map(|(at, layer)| {
        let other = against.map(|other| &other.layers[at]);
        let top = top_tokens(&observation.ids, &layer.choices, layer.k, layer.experts);
        let text = |ids: Vec<u32>| ids.into_iter().map(&text_of).collect();
        LayerRoutes {
            top_tokens: top.into_iter().map(text).collect(),
            ..layer_routes(observation, layer, other, &domain_tokens)
        }
    });
    let mut documents: Vec<usize> = observation.documents.iter().map(|it| it.number).collect();
    documents.sort_unstable();
    documents.dedup();
    Ok(RouteStudy {
        model: about.model,
        step: about.step,
        data: about.data,
        documents: documents.len() as u64,
        tokens: observation.tokens() as u64,
        layers: layers.collect(),
        domain_tokens,
        told_domains: about.told_domains,
        sampled_tokens: observation.sample.len() as u64,
        against: about.against,
        locality: locality::measure(observation),
    })
}

fn check_alike(one: &Observation, other: &Observation) -> Result<(), StudyError> {
    let shape = |of: &Observation| -> Vec<(usize, usize, usize)> {
        let layers = of.layers.iter();
        layers.map(|it| (it.layer, it.slots, it.k)).collect()
    };
    let (expected, found) = (shape(one), shape(other));
    let told = |shape: &[(usize, usize, usize)]| match shape.first() {
        Some((_, slots, k)) => {
            format!("{} layers that choose {k} of {slots} experts", shape.len())
        }
        None => "no layer with experts".into(),
    };
    if expected != found {
        return Err(StudyError::Unlike {
            found: told(&found),
            expected: told(&expected),
        });
    }
    if one.ids != other.ids {
        return Err(StudyError::Unlike {
            found: "other token ids".into(),
            expected: "the ids of the text".into(),
        });
    }
    Ok(())
}

fn layer_routes(
    observation: &Observation,
    layer: &LayerObservation,
    other: Option<&LayerObservation>,
    domains: &[DomainTokens],
) -> LayerRoutes {
    let halves = [true, false].map(|is_probe| domain_table(observation, layer, is_probe));
    let both = halves[0].iter().zip(&halves[1]).map(|(probe, held_out)| {
        let pairs = probe.iter().zip(held_out);
        pairs.map(|(left, right)| left + right).collect()
    });
    let both: DomainTable = both.collect();
    let labels = match domains.len() {
        0 | 1 => Vec::new(),
        _ => label(&halves[0], &halves[1]),
    };
    let slots = layer.slot_visits();
    let (visits, null_visits) = slots.split_at(layer.experts);
    LayerRoutes {
        layer: layer.layer + 1,
        num_experts_per_tok: layer.k,
        visits: visits.to_vec(),
        null_visits: null_visits.to_vec(),
        domain_visits: domains
            .iter()
            .map(|it| both[it.domain.index()].clone())
            .collect(),
        figures: figures(observation, layer, other, &both),
        labels,
        top_tokens: Vec::new(),
    }
}

/// Visits to the experts by tokens of each domain, on one half of the documents.
fn domain_table(
    observation: &Observation,
    layer: &LayerObservation,
    is_probe: bool,
) -> DomainTable {
    let mut table = vec![vec![0; layer.experts]; Domain::COUNT];
    let documents = observation.documents.iter();
    for document in documents.filter(|it| it.is_probe == is_probe) {
        let Some(domain) = observation.domains[document.tokens.start] else {
            continue;
        };
        let of_tokens = document.tokens.start * layer.k..document.tokens.end * layer.k;
        for &slot in &layer.choices[of_tokens] {
            if let Some(count) = table[domain.index()].get_mut(usize::from(slot)) {
                *count += 1;
            }
        }
    }
    table
}

fn figures(
    observation: &Observation,
    layer: &LayerObservation,
    other: Option<&LayerObservation>,
    by_domain: &DomainTable,
) -> RouteFigures {
    let visits = layer.visits();
    let busiest = visits.iter().max().copied().unwrap_or(0) as f64;
    let mean = visits.iter().sum::<u64>() as f64 / layer.experts.max(1) as f64;
    let tokens = observation.tokens() as f64;
    let is_read = tokens > 0.0;
    let domains = dependence(by_domain);
    let k = layer.k;
    let sampled: Vec<u16> = observation
        .sample
        .iter()
        .flat_map(|&token| layer.choices[token as usize * k..][..k].iter().copied())
        .collect();
    let few = observation.sample.len().min(LEGACY_TOKENS);
    let first: Vec<u16> = sampled
        .iter()
        .step_by(k.max(1))
        .take(few)
        .copied()
        .collect();
    let alike = |choices: &[u16]| cohesion(&layer.inputs, layer.width, choices, layer.experts);
    let told = |choices: &[u16]| {
        let mut table = vec![vec![0; layer.experts]; Domain::COUNT];
        for (chosen, domain) in choices.chunks(k).zip(&observation.domains) {
            let Some(domain) = domain else { continue };
            for &slot in chosen {
                if let Some(count) = table[domain.index()].get_mut(usize::from(slot)) {
                    *count += 1;
                }
            }
        }
        dependence(&table).map(|it| it.normalized)
    };
    let of_source = legacy(&layer.inputs[..few * layer.width], layer.width, &first);
    RouteFigures {
        max_vio: (mean > 0.0).then(|| busiest / mean - 1.0),
        effective_experts: effective_number(&visits),
        route_ppl: is_read.then(|| (layer.entropy / tokens).exp()),
        cohesion: alike(&sampled),
        cohesion_by_chance: chance(&sampled, 0, alike),
        stability: layer.stability,
        saturation: other.and_then(|other| overlap(&layer.choices, &other.choices, k)),
        specialization_nats: is_read
            .then(|| entropy(layer.affinities.iter().copied()) - layer.entropy / tokens),
        domain_mi_nats: domains.map(|it| it.nats),
        domain_nmi: domains.map(|it| it.normalized),
        domain_nmi_by_chance: domains.and_then(|_| chance(&layer.choices, 1, told)),
        legacy_ssi: of_source.map(|it| it.ssi),
        legacy_semantic_ppl: of_source.map(|it| it.semantic_ppl),
    }
}

impl LayerObservation {
    /// Number of times each slot was chosen, `[slots]`.
    pub fn slot_visits(&self) -> Vec<u64> {
        let mut visits = vec![0; self.slots];
        for &slot in &self.choices {
            visits[usize::from(slot)] += 1;
        }
        visits
    }

    /// Number of visits to each routed expert, `[experts]`.
    pub fn visits(&self) -> Vec<u64> {
        let mut visits = self.slot_visits();
        visits.truncate(self.experts);
        visits
    }
}
