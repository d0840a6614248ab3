//! Summary of a job, printed before it begins.

use std::fmt;

use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::config::memory::{Bytes, MemoryNeeds};
use crate::model::lora::{Adaptation, LoraConfig};
use crate::run::Job;
use crate::run::strategy::LONGEST_UNSAVED;
use crate::run::{TokenizedTexts, Validation};
use crate::training::TrainingConfig;

use super::choice::purpose;

/// Number of epochs above which the user is warned of memorization.
const MANY_EPOCHS: f64 = 8.0;

/// Displays a job in a few lines.
pub(super) struct Announcement<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) texts: &'a TokenizedTexts,
    pub(super) run: &'a Run,
    pub(super) steps_done: u64,
    /// Whether the validation text is measured before the first step.
    pub(super) measures_first: bool,
    /// Reason for the preset, if it was chosen automatically.
    pub(super) reason: Option<String>,
    /// The matrices that LoRA adapts, if it is on.
    pub(super) adaptation: Option<Adaptation>,
}

impl<'a> Announcement<'a> {
    pub(super) fn of(job: &'a Job, reason: Option<String>, adaptation: Option<Adaptation>) -> Self {
        Self {
            experiment: &job.experiment,
            texts: &job.texts,
            run: &job.run,
            steps_done: job.steps_done(),
            measures_first: job.measures_first(),
            reason,
            adaptation,
        }
    }

    fn model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.experiment.model;
        let name = self.experiment.preset_name();
        let name = name.map_or_else(String::new, |name| format!("{name}, "));
        let (total, active) = (model.num_params(), model.num_active_params());
        write!(f, "model     {name}{} parameters", rounded(total as f64))?;
        if model.moe.is_some() {
            write!(f, ", {} active per token", rounded(active as f64))?;
        }
        match &self.reason {
            Some(reason) => writeln!(f, "; chosen for the data: {reason}"),
            None => writeln!(f),
        }
    }

    fn lora(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lora = self.experiment.training.lora.as_ref();
        let Some((lora, adaptation)) = lora.zip(self.adaptation.as_ref()) else {
            return Ok(());
        };
        let LoraConfig { rank, alpha, .. } = lora;
        writeln!(f, "LoRA      rank {rank}, alpha {alpha}; {adaptation}")
    }

    fn data(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenizedTexts {
            train,
            valid,
            validation,
            skipped,
            left_out,
            ..
        } = self.texts;
        let total = train.total();
        let amount = |total: crate::data::Totals| {
            let documents = counted(total.documents, "document");
            format!("{documents}, {}", counted(total.tokens, "token"))
        };
        writeln!(f, "data      {} to train on", amount(total))?;
        let valid = valid.as_ref().map(|valid| amount(valid.total()));
        match (validation, valid) {
            (Validation::Files, Some(valid)) => writeln!(f, "          {valid} to measure by")?,
            (Validation::HeldOut(share), Some(valid)) => writeln!(
                f,
                "          {valid} held out to measure by, about {} of the documents, never trained on",
                percent(*share)
            )?,
            (Validation::TooFewDocuments(share), _) => writeln!(
                f,
                "          nothing to measure by: {} of the documents would be held out, but no domain has 20; `--valid FILE` names others",
                percent(*share)
            )?,
            _ => writeln!(f, "          nothing to measure by")?,
        }
        if skipped.count > 0 {
            writeln!(f, "skipped   {skipped}")?;
        }
        if !left_out.is_empty() {
            writeln!(f, "data      {left_out}")?;
        }
        Ok(())
    }

    fn job(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let training = &self.experiment.training;
        let TrainingConfig {
            steps,
            batch_size,
            seq_len,
            accumulation,
            ..
        } = training;
        if let Some(asked) = self.texts.shortened_from {
            writeln!(
                f,
                "rows      {seq_len} tokens instead of {asked}: the data has no more, with those around its documents"
            )?;
        }
        let tokens = self.tokens();
        let micro_batches = match accumulation {
            1 => String::new(),
            more => format!("{more} x "),
        };
        let done = match self.steps_done {
            0 => String::new(),
            done => format!(", {} of the steps done", grouped(done)),
        };
        writeln!(
            f,
            "job       {} x {micro_batches}{} x {seq_len} tokens = {} tokens, {} over the data{done}",
            counted(*steps, "step"),
            counted(*batch_size as u64, "row"),
            grouped(tokens),
            epochs(self.texts.epochs(tokens)),
        )
    }

    fn saves(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trained = self.adaptation.as_ref().map(|it| it.trained);
        let purpose = purpose(self.experiment, trained);
        let needs = MemoryNeeds::of(&self.experiment.model, purpose);
        writeln!(f, "memory    about {}", Bytes(needs.total()))?;
        let training = &self.experiment.training;
        let minutes = LONGEST_UNSAVED.as_secs() / 60;
        let every = match training.checkpoint_every {
            0 => format!("every {minutes} minutes"),
            1 => "every step".into(),
            every => format!("every {every} steps, at the latest every {minutes} minutes"),
        };
        writeln!(
            f,
            "saves     {}, {every} and at the end",
            self.run.path().display()
        )
    }

    /// Announces the evaluation before the first step.
    fn measurement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(valid) = self.texts.valid.as_ref().filter(|_| self.measures_first) else {
            return Ok(());
        };
        let TrainingConfig {
            eval_batches,
            batch_size,
            seq_len,
            ..
        } = self.experiment.training;
        let all = valid.total().tokens;
        let tokens = match eval_batches {
            0 => all,
            batches => all.min((batches as u64).saturating_mul((batch_size * seq_len) as u64)),
        };
        writeln!(
            f,
            "measuring the held-out text before the first step, {}",
            counted(tokens, "token")
        )
    }

    /// Number of tokens that the whole job trains on.
    fn tokens(&self) -> u64 {
        let training = &self.experiment.training;
        training.steps.saturating_mul(training.tokens_per_step())
    }
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model(f)?;
        self.lora(f)?;
        self.data(f)?;
        self.job(f)?;
        self.saves(f)?;
        self.measurement(f)?;
        let epochs = self.texts.epochs(self.tokens());
        if epochs > MANY_EPOCHS {
            writeln!(
                f,
                "warning: more than {MANY_EPOCHS} epochs are learned by heart rather than understood: give more data, or fewer `--steps` or `--epochs`"
            )?;
        }
        let moe = self.experiment.model.moe.as_ref();
        if moe.is_some_and(|moe| moe.num_experts_per_tok == 1 && moe.router.norm_topk_prob) {
            writeln!(
                f,
                "warning: the gate of a token's one expert is 1 whatever the router says, so that the loss teaches the router nothing: set `moe.router.norm_topk_prob` to false"
            )?;
        }
        Ok(())
    }
}

/// A count with three digits and a letter, as in `3.41 M`.
pub(super) fn rounded(value: f64) -> String {
    let (factor, unit) = match value {
        999.5e9.. => (1e12, " T"),
        999.5e6.. => (1e9, " B"),
        999.5e3.. => (1e6, " M"),
        999.5.. => (1e3, " k"),
        _ => return format!("{value:.0}"),
    };
    let scaled = value / factor;
    let decimals = match scaled {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{unit}")
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A count with its noun: `1 step`, `2,000 steps`.
fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {what}{ending}", grouped(count))
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

fn epochs(epochs: f64) -> String {
    let number = match epochs {
        ..0.1 => format!("{epochs:.3}"),
        ..10.0 => format!("{epochs:.1}"),
        _ => grouped(epochs.round() as u64),
    };
    match number.as_str() {
        "1.0" => "1 epoch".into(),
        number => format!("{number} epochs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_read_them() {
        let told = [0.0, 999.0, 3_412_480.0, 31_049_216.0, 999_960.0, 4.97e9].map(rounded);
        assert_eq!(told, ["0", "999", "3.41 M", "31.0 M", "1.00 M", "4.97 B"]);
        assert_eq!(grouped(61_440), "61,440");
        let told = [1, 0, 61_440].map(|count| counted(count, "row"));
        assert_eq!(told, ["1 row", "0 rows", "61,440 rows"]);
        assert_eq!(
            (percent(0.02), percent(0.001)),
            ("2 %".into(), "0.1 %".into())
        );
        let told = [0.0123, 1.0, 3.96, 41.4].map(epochs);
        assert_eq!(told, ["0.012 epochs", "1 epoch", "4.0 epochs", "41 epochs"]);
    }
}
