//! Loss by domain and routing by domain on held-out text.

use darkhorse_backends::{Ops, awake};
use serde::{Deserialize, Serialize};

use super::batch;
use super::error::TrainingError;
use super::feed::ValidFeed;
use super::loss::token_losses;
use crate::data::{PackedBatch, Tags, UNTAGGED};
use crate::domain::Domain;
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::domain::{DomainConfig, TAGS};
use crate::model::routing::growth::Growing;
use crate::model::routing::stats::{self, LoadCounts};
use crate::model::routing::{Route, Together, balance};
use crate::telemetry::{DomainRecord, EvalRecord, RoutingTable};

/// Sums over the tokens of one domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DomainSums {
    /// Negative log-likelihood, in nats.
    pub nats: f64,
    /// Predicted tokens.
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

/// What was measured on some batches.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchEvaluation {
    /// By the documents' domain, in [`Domain::ALL`]'s order, then those without one.
    pub domains: [DomainSums; TAGS],
    /// Choices of experts by the documents' domain (not by the tag given), main model's layers only.
    pub loads: Vec<LoadCounts>,
    /// Whether the router was told the domain of any document.
    pub is_tagged: bool,
}

impl BatchEvaluation {
    /// Sum with other batches.
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

/// Evaluates one batch, with the tags that it carries.
pub fn evaluate_batch<B, M, R>(model: &CausalLm<B, M, R>, rows: &PackedBatch) -> BatchEvaluation
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let model = model.clone();
    awake(move || evaluate_awake(&model, rows))
}

/// The same where the caller keeps the threads awake.
pub(super) fn evaluate_awake<B, M, R>(
    model: &CausalLm<B, M, R>,
    rows: &PackedBatch,
) -> BatchEvaluation
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let device = model.embed_tokens.device();
    let hidden = model.hidden(&batch::sequences(rows, &device));
    let targets = batch::targets(rows, 0);
    let losses = token_losses(model, &hidden, &targets).into_data();

    let mut domains = [DomainSums::default(); TAGS];
    for (index, nats) in losses.iter::<f64>().enumerate() {
        if targets.counted[index] {
            let sums = &mut domains[usize::from(rows.domains[index])];
            sums.nats += nats;
            sums.tokens += 1;
            sums.bytes += u64::from(rows.bytes[index + 1]);
        }
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
    BatchEvaluation {
        domains,
        loads: loads.collect(),
        is_tagged: rows.tags.iter().any(|&tag| tag != UNTAGGED),
    }
}

/// Evaluates one batch, or says where its logits stop being finite. That is looked for only where the loss is not.
pub(super) fn measure<B, M, R>(
    model: &CausalLm<B, M, R>,
    rows: &PackedBatch,
) -> Result<BatchEvaluation, TrainingError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let found = evaluate_batch(model, rows);
    match found.total().nats.is_finite() {
        true => Ok(found),
        false => Err(not_finite(model, rows)),
    }
}

/// Why the loss of a batch is not finite.
fn not_finite<B, M, R>(model: &CausalLm<B, M, R>, rows: &PackedBatch) -> TrainingError
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let input = batch::sequences(rows, &model.embed_tokens.device());
    match model.not_finite(&input) {
        Some(error) => TrainingError::Logits(error),
        None => TrainingError::Evaluation,
    }
}

/// Distinct experts of a layer that the tokens at one place of all rows visit, in the mean; none without layers that
/// route.
///
/// # Errors
///
/// Text that cannot be read.
pub fn distinct_experts<B, M, R>(
    model: &CausalLm<B, M, R>,
    valid: &ValidFeed,
) -> Result<Option<f64>, TrainingError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let device = model.embed_tokens.device();
    let (mut distinct, mut groups) = (0, 0);
    for rows in valid.pass(Tags::Dropped) {
        let rows = rows?;
        let tokens = rows.rows;
        let hidden = model.hidden(&batch::sequences(&rows, &device));
        for routing in hidden.routings {
            let [_, k] = routing.indices.dims();
            let indices: Vec<i64> = routing.indices.into_data().iter().collect();
            let together = Together { rho: 0.0, tokens };
            distinct += together.distinct(&indices, [k, routing.experts]);
            groups += rows.seq_len;
        }
    }
    Ok((groups > 0).then(|| distinct as f64 / groups as f64))
}

/// Adds a batch to a sum that may not have begun.
pub fn merge(sum: &mut Option<BatchEvaluation>, batch: BatchEvaluation) {
    match sum {
        Some(sum) => sum.merge(&batch),
        None => *sum = Some(batch),
    }
}

/// What an evaluation found, for the run's metrics: with the documents' tags, and without if it was done too. None if no
/// token was counted: then nothing was measured.
pub fn record(
    step: u64,
    tagged: Option<&BatchEvaluation>,
    untagged: Option<&BatchEvaluation>,
    domains: &DomainConfig,
) -> Option<EvalRecord> {
    let tagged = tagged.filter(|tagged| tagged.total().tokens > 0)?;
    let total = tagged.total();
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
        // where no document has a tag, none was dropped either
        routing_untagged: untagged
            .or((!tagged.is_tagged).then_some(tagged))
            .and_then(|untagged| routing_table(&untagged.loads, domains)),
        max_vio: max_vio.reduce(f64::max),
        null_share: null_share(&tagged.loads),
    })
}

/// Share of the choices that fell on null experts; none without any.
fn null_share(layers: &[LoadCounts]) -> Option<f64> {
    let sum = |loads: Vec<u64>| loads.iter().sum::<u64>() as f64;
    let null: f64 = layers.iter().map(|counts| sum(counts.null())).sum();
    let real: f64 = layers.iter().map(|counts| sum(counts.total())).sum();
    let has_any = layers.iter().any(|counts| counts.null_experts() > 0);
    (has_any && null + real > 0.0).then(|| null / (null + real))
}

/// `P(expert's domain | token's domain)` over all layers; none without layers that route.
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
        let nothing = BatchEvaluation {
            domains: Default::default(),
            loads: Vec::new(),
            is_tagged: false,
        };
        assert_eq!(record(3, None, None, &domains), None);
        assert_eq!(record(3, Some(&nothing), None, &domains), None);
        let mut one = nothing;
        one.domains[0] = DomainSums {
            nats: 2.0,
            tokens: 1,
            bytes: 1,
        };
        let measured = record(3, Some(&one), None, &domains).unwrap();
        assert_eq!((measured.loss, measured.domains.len()), (2.0, 1));
    }

    #[test]
    fn text_without_a_domain_has_a_row_of_its_own() {
        let mut both = BatchEvaluation {
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
        let measured = record(3, Some(&both), None, &DomainConfig::default()).unwrap();
        let rows = measured.domains.iter().map(|it| (it.name(), it.loss));
        assert!(rows.eq([("general", 2.0), ("untagged", 4.0)]));
        assert_eq!(measured.loss, 3.0);
    }
}
