//! The lines of `metrics.jsonl`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::Domain;

/// One line: `{"step": {…}}`, `{"eval": {…}}`, `{"mitosis": {…}}`, `{"skipped": {…}}` or `{"samples": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An optimizer step.
    Step(StepRecord),
    /// An evaluation on held-out text.
    Eval(EvalRecord),
    /// Experts that divided or went.
    Mitosis(MitosisRecord),
    /// Documents that were left out.
    Skipped(SkippedRecord),
    /// Texts that the trained model writes.
    Samples(SamplesRecord),
}

/// What an optimizer step did and cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepRecord {
    /// Optimizer steps done, this one included.
    pub step: u64,
    /// Tokens trained on since the run began.
    pub tokens: u64,
    /// Next-token loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Loss of the multi-token prediction modules, unweighted, in nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtp_loss: Option<f64>,
    /// Auxiliary losses (balance), as they enter the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aux_loss: Option<f64>,
    /// Learning rate.
    #[serde(deserialize_with = "number")]
    pub lr: f64,
    /// Norm of the whole gradient before clipping.
    #[serde(deserialize_with = "number")]
    pub grad_norm: f64,
    /// `max_e n_e / t_e - 1` of this step, of the worst layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio_batch: Option<f64>,
    /// The same over a window of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio_global: Option<f64>,
    /// Tokens trained on per second.
    #[serde(deserialize_with = "number")]
    pub tokens_per_s: f64,
    /// Wall time of the step, in seconds.
    #[serde(deserialize_with = "number")]
    pub duration_s: f64,
    /// Energy of the step, in joules, if it was measured: that of `duration_s`, without evaluations and checkpoints.
    /// Counters move in steps of up to 100 ms, so a short step may have too much or too little, and the sum is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// The devices whose energy it is, with their sources, as in `CPU package-0 (RAPL counter)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<String>,
    /// Tokens that visited each expert, `[layer][expert]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expert_loads: Vec<Vec<u64>>,
    /// Choices of each null expert, `[layer][null expert]`, where a model has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_loads: Vec<Vec<u64>>,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// Loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Loss, in bits per byte of text.
    #[serde(deserialize_with = "number")]
    pub bits_per_byte: f64,
    /// The domains that the text has, in their order; behind them what has none.
    #[serde(default)]
    pub domains: Vec<DomainRecord>,
    /// `P(expert's domain | token's domain)` with the documents' tags shown to the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_tagged: Option<RoutingTable>,
    /// The same with every tag dropped: the router finds the domain by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_untagged: Option<RoutingTable>,
    /// `max_e n_e / t_e - 1` of the evaluation, of the worst layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vio: Option<f64>,
    /// Share of the choices that fell on null experts, over all layers; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_share: Option<f64>,
}

impl EvalRecord {
    /// Whether any token was counted. Older versions wrote evaluations without text, with zeros for losses.
    pub fn is_measured(&self) -> bool {
        !self.domains.is_empty()
    }
}

/// Experts that divided or went after a step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MitosisRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// Experts that divided.
    #[serde(default)]
    pub divisions: Vec<DivisionRecord>,
    /// Experts that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retirements: Vec<RetirementRecord>,
    /// Experts in use afterwards, by routed layer.
    #[serde(default)]
    pub experts_in_use: Vec<usize>,
    /// Next-token loss on rows of the step just before, in nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_before: Option<f64>,
    /// The same just after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_after: Option<f64>,
}

/// An expert that divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DivisionRecord {
    /// Routed layer, counted from 0, as in `expert_loads`.
    pub layer: usize,
    /// The expert.
    pub parent: usize,
    /// The place of its copy.
    pub child: usize,
    /// Its tokens that the plane between the two was laid through.
    pub tokens: usize,
    /// Its stress, if that is why it divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress: Option<f64>,
}

/// An expert that went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetirementRecord {
    /// Routed layer, counted from 0, as in `expert_loads`.
    pub layer: usize,
    /// The expert.
    pub expert: usize,
    /// How much it was asked for, relative to an even load.
    pub demand: f64,
}

/// Documents of the run's data that could not be read and were left out, by request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// How many.
    pub count: u64,
    /// What was wrong with the first few, each with its file and line.
    pub examples: Vec<String>,
}

/// Texts that the model wrote at the end of training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SamplesRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// The texts.
    pub samples: Vec<SampleRecord>,
}

/// One text that the model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The domain that it was told, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Seed of the draws.
    pub seed: u64,
    /// What it wrote.
    pub text: String,
}

/// Loss on the text of one domain, or on that without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// The domain; none: that of the documents that have no tag.
    #[serde(default)]
    pub domain: Option<Domain>,
    /// Loss, in nats per token.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// Loss, in bits per byte of text.
    #[serde(deserialize_with = "number")]
    pub bits_per_byte: f64,
    /// Tokens counted.
    pub tokens: u64,
}

impl DomainRecord {
    /// What it is called where people read it.
    pub fn name(&self) -> &'static str {
        self.domain.map_or("untagged", Domain::name)
    }
}

/// Where the tokens of each domain go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RoutingTable {
    /// `P(expert's domain | token's domain)`, `[token's domain][expert's domain]`. A row of zeros, null in JSON: no
    /// token of that domain.
    #[serde(serialize_with = "measured_rows", deserialize_with = "rows_or_zeros")]
    pub share: Vec<Vec<f64>>,
    /// What a uniform choice of experts would give: the share of the experts in each domain.
    pub chance: Vec<f64>,
}

impl RoutingTable {
    /// `P(own domain | domain) / chance`: 1 is a router that does not tell this domain from others. None
    /// without a token or an expert of that domain.
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

    /// What [`share_own_or_general`](Self::share_own_or_general) would be if experts were chosen by chance.
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
    /// Optimizer steps done.
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

/// JSON has no NaN and no infinity: serde writes `null`, and it is read back as NaN.
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
        // code 0.6, legal 1.0, and general, whose own experts got nothing
        assert!((share - 1.6 / 3.0).abs() < 1e-12, "{share}");
        let chance = table.chance_own_or_general().unwrap();
        assert!((chance - 0.5 / 3.0).abs() < 1e-12, "{chance}");
        assert_eq!(RoutingTable::default().share_own_or_general(), None);
    }
}
