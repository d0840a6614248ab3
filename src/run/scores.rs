//! Loss and routing by domain, summed over batches of text.

use darkhorse_backends::{Ops, awake};
use serde::{Deserialize, Serialize};

use super::error::RunError;
use crate::data::PackedBatch;
use crate::domain::{Domain, TAGS, UNTAGGED};
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::domain::DomainConfig;
use crate::model::routing::growth::Growing;
use crate::model::routing::stats::{self, LoadCounts};
use crate::model::routing::{Route, balance};
use crate::telemetry::{DomainRecord, EvalRecord, RoutingTable};
use crate::training::{batch, loss};

/// Sums over the tokens of one domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainSums {
    /// Negative log-likelihood of the predicted tokens, in nats.
    pub nats: f64,
    /// Number of predicted tokens.
    pub tokens: u64,
    /// UTF-8 bytes of the predicted tokens.
    pub bytes: u64,
}

impl DomainSums {
    /// Mean loss in nats per token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// Mean loss in bits per UTF-8 byte.
    pub fn bits_per_byte(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.bytes as f64
    }

    fn add(&mut self, other: &Self) {
        self.nats += other.nats;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

/// Losses and expert loads, summed over batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Sums by the document's domain, in the order of [`Domain::ALL`], and last those of documents without one.
    pub domains: [DomainSums; TAGS],
    /// Router choices by the document's domain (whether or not the router was told it), one entry per routed layer of
    /// the main model.
    pub loads: Vec<LoadCounts>,
    /// Whether the router was told the domain of any document.
    pub is_tagged: bool,
}

impl Scores {
    /// Measures one batch, with the domain tags that it carries.
    ///
    /// # Errors
    ///
    /// A loss that is not finite, with the first place where the logits are not finite.
    pub fn of<B, M, R>(model: &CausalLm<B, M, R>, rows: &PackedBatch) -> Result<Self, RunError>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let found = {
            let model = model.clone();
            awake(move || Self::of_batch(&model, rows))
        };
        // searched only if the loss is not finite, since it takes another pass
        if found.total().nats.is_finite() {
            Ok(found)
        } else {
            let input = batch::sequences(rows, &model.embed_tokens.device());
            Err(match model.not_finite(&input) {
                Some(error) => RunError::Logits(error),
                None => RunError::Evaluation,
            })
        }
    }

    fn of_batch<B, M, R>(model: &CausalLm<B, M, R>, rows: &PackedBatch) -> Self
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let device = model.embed_tokens.device();
        let hidden = model.hidden(&batch::sequences(rows, &device));
        let mut domains = [DomainSums::default(); TAGS];
        for (index, nats) in loss::counted_losses(model, &hidden, rows) {
            let sums = &mut domains[usize::from(rows.domains[index])];
            sums.nats += nats;
            sums.tokens += 1;
            sums.bytes += u64::from(rows.bytes[index + 1]);
        }

        let present = batch::present(rows, 0);
        let loads = hidden.routings.iter().map(|routing| {
            let tags = batch::counting_tags::<B>(&rows.domains, &present, &device);
            let counts = stats::count(routing.indices.clone(), tags, routing.slots()).into_data();
            let counts = counts.iter::<f32>().collect::<Vec<_>>();
            let growth = routing.growth.as_ref();
            LoadCounts::from_values(&counts, routing.experts)
                .of_roster(growth.map(|it| Growing::roster(it.places.clone(), routing.experts)))
        });
        Self {
            domains,
            loads: loads.collect(),
            is_tagged: rows.tags.iter().any(|&tag| tag != UNTAGGED),
        }
    }

    /// Adds the sums of other batches.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.domains.iter_mut().zip(&other.domains) {
            sum.add(more);
        }
        for (sum, more) in self.loads.iter_mut().zip(&other.loads) {
            sum.merge(more);
        }
        self.is_tagged |= other.is_tagged;
    }

    /// Sums over all domains.
    pub fn total(&self) -> DomainSums {
        let mut total = DomainSums::default();
        for domain in &self.domains {
            total.add(domain);
        }
        total
    }
}

/// An evaluation record from the scores with the documents' tags and, if measured, without them. `None` if no token
/// was counted.
pub(super) fn record(
    step: u64,
    tagged: &Scores,
    untagged: Option<&Scores>,
    domains: &DomainConfig,
) -> Option<EvalRecord> {
    let total = tagged.total();
    if total.tokens == 0 {
        return None;
    }
    let domains_or_none = Domain::ALL.into_iter().map(Some).chain([None]);
    let present = domains_or_none.zip(&tagged.domains);
    let max_vio = tagged.loads.iter().map(|counts| {
        balance::max_violation(&counts.total(), &balance::target_load(counts, domains))
    });
    Some(EvalRecord {
        step,
        loss: total.loss(),
        bits_per_byte: total.bits_per_byte(),
        domains: present
            .filter(|(_, sums)| sums.tokens > 0)
            .map(|(domain, sums)| DomainRecord {
                domain,
                loss: sums.loss(),
                bits_per_byte: sums.bits_per_byte(),
                tokens: sums.tokens,
            })
            .collect(),
        routing_tagged: tagged
            .is_tagged
            .then(|| routing_table(&tagged.loads, domains))
            .flatten(),
        // without tagged documents, no tag was dropped
        routing_untagged: untagged
            .or((!tagged.is_tagged).then_some(tagged))
            .and_then(|untagged| routing_table(&untagged.loads, domains)),
        max_vio: max_vio.reduce(f64::max),
        null_share: null_share(&tagged.loads),
    })
}

/// Fraction of the choices that fell on null experts; `None` without null experts.
fn null_share(layers: &[LoadCounts]) -> Option<f64> {
    let sum = |loads: Vec<u64>| loads.iter().sum::<u64>() as f64;
    let null: f64 = layers.iter().map(|counts| sum(counts.null())).sum();
    let real: f64 = layers.iter().map(|counts| sum(counts.total())).sum();
    let has_any = layers.iter().any(|counts| counts.null_experts() > 0);
    (has_any && null + real > 0.0).then(|| null / (null + real))
}

/// `P(expert's domain | token's domain)` over all layers; `None` without routed layers.
fn routing_table(layers: &[LoadCounts], domains: &DomainConfig) -> Option<RoutingTable> {
    layers.first()?;
    let mut share = vec![vec![0.0; Domain::COUNT]; Domain::COUNT];
    for (domain, row) in share.iter_mut().enumerate() {
        for counts in layers {
            for (founder, &count) in counts.founders().into_iter().zip(counts.of_tag(domain)) {
                if let Some(founder) = founder {
                    row[domains.domain_of(founder).index()] += count as f64;
                }
            }
        }
        let all: f64 = row.iter().sum();
        if all > 0.0 {
            row.iter_mut().for_each(|count| *count /= all);
        }
    }
    let mut chance = vec![0.0; Domain::COUNT];
    let mut founders: Vec<Vec<Option<usize>>> = layers.iter().map(LoadCounts::founders).collect();
    founders.dedup();
    let experts = founders.iter().flatten().flatten();
    let in_use = experts.clone().count() as f64;
    for &founder in experts {
        chance[domains.domain_of(founder).index()] += 1.0 / in_use;
    }
    Some(RoutingTable { share, chance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_counted_token_nothing_was_measured() {
        let domains = DomainConfig::default();
        let nothing = Scores {
            domains: Default::default(),
            loads: Vec::new(),
            is_tagged: false,
        };
        assert_eq!(record(3, &nothing, None, &domains), None);
        let mut one = nothing;
        one.domains[0] = DomainSums {
            nats: 2.0,
            tokens: 1,
            bytes: 1,
        };
        let measured = record(3, &one, None, &domains).unwrap();
        assert_eq!((measured.loss, measured.domains.len()), (2.0, 1));
    }

    #[test]
    fn text_without_a_domain_has_a_row_of_its_own() {
        let mut both = Scores {
            domains: Default::default(),
            loads: Vec::new(),
            is_tagged: true,
        };
        for (at, nats) in [(Domain::General.index(), 2.0), (usize::from(UNTAGGED), 4.0)] {
            both.domains[at] = DomainSums {
                nats,
                tokens: 1,
                bytes: 1,
            };
        }
        let measured = record(3, &both, None, &DomainConfig::default()).unwrap();
        let rows = measured.domains.iter().map(|it| (it.name(), it.loss));
        assert!(rows.eq([("general", 2.0), ("untagged", 4.0)]));
        assert_eq!(measured.loss, 3.0);
    }
}
