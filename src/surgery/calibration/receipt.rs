//! Record of a conversion from a dense model: what was done, and what it cost.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::speed::Speed;
use super::tasks::TaskScores;
use crate::model::ModelConfig;
use crate::surgery::carve::{Division, LayerRecord, RouterRule, TextLoss};
use crate::surgery::recovery::{Lesson, Progress, RefitLayer};
use crate::surgery::sparse::Phase;

/// How the experts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Experts are parts of the dense feed-forward.
    Carve,
    /// Experts are copies of the dense feed-forward.
    Upcycle,
    /// Experts are copies with some dimensions drawn anew.
    DropUpcycle,
}

/// Number of parameters of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// All of them.
    pub total: u64,
    /// Those that a token multiplies with, the head included.
    pub active: u64,
}

impl Parameters {
    /// Counts the parameters of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            total: config.num_params(),
            active: config.num_active_params(),
        }
    }
}

/// What is known of a carving: its settings, and its effect on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carving {
    /// How the routers were found.
    pub router: RouterRule,
    /// How neurons were divided among the routed experts.
    pub partition: Division,
    /// Tokens that the experts and routers were found by.
    pub calibration_tokens: u64,
    /// Error and recall of every carved layer.
    pub layers: Vec<LayerRecord>,
    /// Loss of the dense model.
    pub dense: TextLoss,
    /// Loss of the model as it was carved.
    pub carved: TextLoss,
    /// Settings and end of the recovery; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Loss after recovery; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<TextLoss>,
    /// Scores on tasks; absent if none were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TaskScores>,
}

/// How a carved model was recovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Down projections that were solved for before the steps; absent if none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refit: Option<Refit>,
    /// Settings of the steps; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lesson: Option<Lesson>,
    /// Progress at the last step, with the number of tokens read; absent without steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Progress>,
}

/// Down projections that were solved for by least squares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refit {
    /// Penalty on their change.
    pub penalty: f64,
    /// Errors of every layer with experts, on the text to carve by.
    pub layers: Vec<RefitLayer>,
    /// Loss on the held-out text after it, before any step.
    pub loss: Option<TextLoss>,
}

/// Record of a conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The command line.
    pub command: String,
    /// Name of the dense model.
    pub of: String,
    /// BLAKE3 of the dense model's tensors, in hex.
    pub weights_blake3: String,
    /// How the experts were made.
    pub mode: Mode,
    /// Number of experts per layer, shared ones included.
    pub experts: usize,
    /// Number of shared experts per layer.
    pub shared_experts: usize,
    /// Number of routed experts that a token visits.
    pub top_k: usize,
    /// Layers that stayed dense.
    pub dense_layers: Vec<usize>,
    /// Share of an expert's dimensions that were drawn anew; absent if none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// Seed of all that was drawn.
    pub seed: u64,
    /// The dense model.
    pub before: Parameters,
    /// The model with experts.
    pub after: Parameters,
    /// Settings and effect of a carving; absent for copies, which need no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carving: Option<Carving>,
    /// Speed of the dense model; absent if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_before: Option<Speed>,
    /// Speed of the model with experts; absent if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_after: Option<Speed>,
    /// Duration and energy of each phase.
    pub phases: Vec<Phase>,
    /// Why energy was not measured, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_missing: Option<String>,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:>14}{:>14}{:>9}",
            "", "dense", "with experts", "change"
        )?;
        let rows = [
            ("parameters", self.before.total, self.after.total),
            ("active parameters", self.before.active, self.after.active),
        ];
        for (what, before, after) in rows {
            let change = percent(before as f64, after as f64);
            writeln!(f, "{what:<24}{before:>14}{after:>14}{change:>+8.1} %")?;
        }
        if let Some(carving) = &self.carving {
            let (dense, carved) = (&carving.dense, &carving.carved);
            row(f, "perplexity", dense.perplexity, carved.perplexity)?;
            // both were measured on one text, so that the domains are the same
            for (dense, carved) in dense.domains.iter().zip(&carved.domains) {
                let name = format!("  {}", dense.name());
                row(f, &name, dense.loss.exp(), carved.loss.exp())?;
            }
            let refit = carving.recovery.as_ref().and_then(|it| it.refit.as_ref());
            if let Some(refit) = refit.and_then(|it| it.loss.as_ref()) {
                let name = "refitted perplexity";
                row(f, name, dense.perplexity, refit.perplexity)?;
            }
            if let Some(recovered) = &carving.recovered {
                let name = "recovered perplexity";
                row(f, name, dense.perplexity, recovered.perplexity)?;
                for (dense, recovered) in dense.domains.iter().zip(&recovered.domains) {
                    let name = format!("  {}", dense.name());
                    row(f, &name, dense.loss.exp(), recovered.loss.exp())?;
                }
            }
            let cloze = [Some(carved), carving.recovered.as_ref()].map(|it| it?.cloze);
            for (name, after) in ["cloze accuracy", "recovered cloze accuracy"]
                .iter()
                .zip(cloze)
            {
                if let Some((before, after)) = dense.cloze.zip(after) {
                    row(f, name, before.accuracy, after.accuracy)?;
                }
            }
        }
        if let (Some(before), Some(after)) = (&self.speed_before, &self.speed_after) {
            let [read, wrote] = ["prefill, tokens per s", "decode, tokens per s"];
            row(f, read, before.prefill_per_second, after.prefill_per_second)?;
            row(f, wrote, before.decode_per_second, after.decode_per_second)?;
        }
        for phase in &self.phases {
            write!(f, "{:<24}{:>12.1} s", phase.name, phase.seconds)?;
            match phase.joules {
                Some(joules) => writeln!(f, "{joules:>12.0} J")?,
                None => writeln!(f)?,
            }
        }
        if let Some(tasks) = self.carving.as_ref().and_then(|it| it.tasks.as_ref()) {
            write!(f, "\n{tasks}")?;
        }
        Ok(())
    }
}

fn percent(before: f64, after: f64) -> f64 {
    100.0 * (after / before - 1.0)
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, before: f64, after: f64) -> fmt::Result {
    let change = percent(before, after);
    write!(f, "{what:<24}{before:>14.3}{after:>14.3}")?;
    if change.is_finite() {
        write!(f, "{change:>+8.1} %")?;
    }
    writeln!(f)
}
