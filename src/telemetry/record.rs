//! The lines of `metrics.jsonl`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::Domain;

/// A line of the journal: `{"step": {…}}`, `{"eval": {…}}`, `{"mitosis": {…}}`, `{"skipped": {…}}` or `{"samples":
/// {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An optimizer step.
    Step(StepRecord),
    /// An evaluation on held-out text.
    Eval(EvalRecord),
    /// Experts divided or retired.
    Mitosis(MitosisRecord),
    /// Documents were skipped.
    Skipped(SkippedRecord),
    /// Sample texts of the trained model.
    Samples(SamplesRecord),
}

/// Result and cost of an optimizer step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of optimizer steps done, this one included.
    pub step: u64,
    /// Number of tokens trained on since the run's start.
    pub tokens: u64,
    /// Next-token loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Loss of the multi-token prediction modules, in nats per token, not weighted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtp_loss: Option<f64>,
    /// Weighted auxiliary losses of the routers (balance), as in the total loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux_loss: Option<f64>,
    /// Learning rate.
    #[serde(deserialize_with = "number")]
    pub lr: f64,
    /// Global L2 norm of the gradient before clipping.
    #[serde(deserialize_with = "number")]
    pub grad_norm: f64,
    /// MaxVio of this step, `max_e n_e / t_e - 1`, where `n_e` is the load of expert `e` and `t_e` its target; of the
    /// worst layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio_batch: Option<f64>,
    /// MaxVio of the loads summed over a window of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio_global: Option<f64>,
    /// Training speed, in tokens per second.
    #[serde(deserialize_with = "number")]
    pub tokens_per_s: f64,
    /// Wall time of the step, in seconds.
    #[serde(deserialize_with = "number")]
    pub duration_s: f64,
    /// Energy of the step in joules, if it was measured: over `duration_s`, evaluations and checkpoints excluded.
    /// Counters move in steps of up to 100 ms, so single short steps are imprecise, but their sum is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// The measured devices with their sources, as in `CPU package-0 (RAPL counter)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
    /// Number of tokens that visited each expert, `[layer][expert]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expert_loads: Vec<Vec<u64>>,
    /// Number of choices of each null expert, `[layer][null expert]`, if the model has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_loads: Vec<Vec<u64>>,
}

/// Result of an evaluation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Number of optimizer steps done.
    pub step: u64,
    /// Mean loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Mean loss, in bits per byte of text.
    #[serde(deserialize_with = "number")]
    pub bits_per_byte: f64,
    /// Losses per domain of the text, in the order of domains; last those of untagged documents.
    #[serde(default)]
    pub domains: Vec<DomainRecord>,
    /// `P(expert's domain | token's domain)` with the documents' tags told to the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_tagged: Option<RoutingTable>,
    /// `P(expert's domain | token's domain)` without tags: the router infers the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_untagged: Option<RoutingTable>,
    /// MaxVio of the evaluation, `max_e n_e / t_e - 1`, where `n_e` is the load of expert `e` and `t_e` its target;
    /// of the worst layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio: Option<f64>,
    /// Fraction of the choices that fell on null experts, over all layers; absent without null experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_share: Option<f64>,
}

impl EvalRecord {
    /// Whether any token was counted. Older versions wrote evaluations without text, with losses of 0.
    pub fn is_measured(&self) -> bool {
        !self.domains.is_empty()
    }
}

/// Experts that divided or retired after a step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MitosisRecord {
    /// Number of optimizer steps done.
    pub step: u64,
    /// Experts that divided.
    #[serde(default)]
    pub divisions: Vec<DivisionRecord>,
    /// Experts that retired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retirements: Vec<RetirementRecord>,
    /// Number of experts in use afterwards, by routed layer.
    #[serde(default)]
    pub experts_in_use: Vec<usize>,
    /// Next-token loss just before, on rows of the step, in nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_before: Option<f64>,
    /// Next-token loss just after, on the same rows, in nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_after: Option<f64>,
}

/// The division of an expert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DivisionRecord {
    /// Index of the routed layer, from 0, as in `expert_loads`.
    pub layer: usize,
    /// Index of the expert that divided.
    pub parent: usize,
    /// Index of its copy.
    pub child: usize,
    /// Number of its tokens that the dividing plane was fitted to.
    pub tokens: usize,
    /// Stress of the expert, if that caused the division.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress: Option<f64>,
}

/// The retirement of an expert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetirementRecord {
    /// Index of the routed layer, from 0, as in `expert_loads`.
    pub layer: usize,
    /// Index of the expert.
    pub expert: usize,
    /// Demand for the expert, relative to an even load.
    pub demand: f64,
}

/// Invalid documents of the run's data that were skipped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// Number of documents.
    pub count: u64,
    /// Errors of the first few, each with its file and line.
    pub examples: Vec<String>,
}

/// Sample texts that the model wrote at the end of training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SamplesRecord {
    /// Number of optimizer steps done.
    pub step: u64,
    /// The texts.
    pub samples: Vec<SampleRecord>,
}

/// A sample text that the model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// Domain that the model was told, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Seed of the sampling.
    pub seed: u64,
    /// The generated text.
    pub text: String,
}

/// Loss on the documents of one domain, or on untagged ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// The domain; absent for untagged documents.
    #[serde(default)]
    pub domain: Option<Domain>,
    /// Mean loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Mean loss, in bits per byte of text.
    #[serde(deserialize_with = "number")]
    pub bits_per_byte: f64,
    /// Number of counted tokens.
    pub tokens: u64,
}

impl DomainRecord {
    /// Name for display.
    pub fn name(&self) -> &'static str {
        self.domain.map_or("untagged", Domain::name)
    }
}

/// Distribution of each domain's tokens over the experts' domains.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoutingTable {
    /// `P(expert's domain | token's domain)`, `[token's domain][expert's domain]`. A row of zeros (null in JSON)
    /// means that the text has no token of that domain.
    #[serde(serialize_with = "measured_rows", deserialize_with = "rows_or_zeros")]
    pub share: Vec<Vec<f64>>,
    /// Expectation under a uniform choice of experts: the fraction of the experts in each domain.
    pub chance: Vec<f64>,
}

impl RoutingTable {
    /// `P(own domain | domain) / chance`; 1 means that the router does not distinguish the domain. `None` without
    /// tokens or experts of the domain.
    pub fn lift(&self, domain: Domain) -> Option<f64> {
        let row = self.share.get(domain.index())?;
        let own = *row.get(domain.index())?;
        let chance = *self.chance.get(domain.index())?;
        (chance > 0.0 && row.iter().any(|&share| share > 0.0)).then(|| own / chance)
    }

    /// `P(own domain or general | domain)`, averaged over the domains that have tokens.
    pub fn share_own_or_general(&self) -> Option<f64> {
        let rows = self.share.iter().enumerate();
        let present = rows.filter(|(_, row)| row.iter().any(|&share| share > 0.0));
        mean(present.map(|(domain, row)| own_or_general(domain, row)))
    }

    /// Expectation of [`share_own_or_general`](Self::share_own_or_general) under a uniform choice of experts.
    pub fn chance_own_or_general(&self) -> Option<f64> {
        let rows = self.share.iter().enumerate();
        let present = rows.filter(|(_, row)| row.iter().any(|&share| share > 0.0));
        mean(present.map(|(domain, _)| own_or_general(domain, &self.chance)))
    }
}

fn own_or_general(domain: usize, by_expert_domain: &[f64]) -> f64 {
    let general = Domain::General.index();
    let of = |domain: usize| by_expert_domain.get(domain).copied().unwrap_or(0.0);
    if domain == general {
        of(general)
    } else {
        of(domain) + of(general)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Record {
    /// Number of optimizer steps done.
    pub fn step(&self) -> u64 {
        match self {
            Self::Step(record) => record.step,
            Self::Eval(record) => record.step,
            Self::Mitosis(record) => record.step,
            Self::Skipped(_) => 0,
            Self::Samples(record) => record.step,
        }
    }
}

/// Reads a number; JSON lacks NaN and infinity, which serde writes as `null`, and `null` is read back as NaN.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn measured_rows<S: Serializer>(rows: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    let is_measured = |row: &&Vec<f64>| row.iter().any(|&share| share > 0.0);
    serializer.collect_seq(rows.iter().map(|row| Some(row).filter(is_measured)))
}

fn rows_or_zeros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<f64>>, D::Error> {
    let rows: Vec<Option<Vec<f64>>> = Deserialize::deserialize(deserializer)?;
    let width = rows.iter().flatten().map(Vec::len).max();
    let width = width.unwrap_or(rows.len());
    let row = |row: Option<Vec<f64>>| row.unwrap_or_else(|| vec![0.0; width]);
    Ok(rows.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_kind_and_leaves_out_what_was_not_measured() {
        let record = Record::Step(StepRecord {
            step: 3,
            loss: 2.5,
            ..Default::default()
        });
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.starts_with(r#"{"step":{"step":3,"tokens":0,"loss":2.5,"#));
        assert!(!line.contains("energy"));
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn a_loss_that_is_not_finite_does_not_spoil_the_journal() {
        let record = Record::Step(StepRecord {
            loss: f64::INFINITY,
            ..Default::default()
        });
        let line = serde_json::to_string(&record).unwrap();
        let Record::Step(read) = serde_json::from_str(&line).unwrap() else {
            panic!("{line}");
        };
        assert!(read.loss.is_nan());
    }

    #[test]
    fn an_evaluation_of_an_older_version_without_text_is_no_measurement() {
        let line = r#"{"eval":{"step":0,"loss":0.0,"bits_per_byte":0.0,"domains":[]}}"#;
        let Record::Eval(read) = serde_json::from_str(line).unwrap() else {
            panic!("{line}");
        };
        assert!(!read.is_measured());
    }

    #[test]
    fn lift_and_share_are_those_of_the_table() {
        let mut table = RoutingTable {
            share: vec![vec![0.0; Domain::COUNT]; Domain::COUNT],
            chance: vec![0.1; Domain::COUNT],
        };
        let (code, legal) = (Domain::Code.index(), Domain::Legal.index());
        let general = Domain::General.index();
        table.share[code][code] = 0.4;
        table.share[code][general] = 0.2;
        table.share[code][legal] = 0.4;
        table.share[legal][general] = 1.0;
        table.share[general][legal] = 1.0;
        let json = serde_json::to_value(&table).unwrap();
        let nulls = json["share"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row.is_null());
        assert_eq!(nulls.count(), Domain::COUNT - 3);
        assert_eq!(serde_json::from_value::<RoutingTable>(json).unwrap(), table);

        assert_eq!(table.lift(Domain::Code), Some(4.0));
        assert_eq!(table.lift(Domain::Legal), Some(0.0));
        assert_eq!(table.lift(Domain::Physics), None);
        let share = table.share_own_or_general().unwrap();
        // mean of code 0.6, legal 1.0 and general 0
        assert!((share - 1.6 / 3.0).abs() < 1e-12, "{share}");
        let chance = table.chance_own_or_general().unwrap();
        assert!((chance - 0.5 / 3.0).abs() < 1e-12, "{chance}");
        assert_eq!(RoutingTable::default().share_own_or_general(), None);
    }
}
