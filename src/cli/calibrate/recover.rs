//! Recovery of a carved model by the dense one that it was carved out of.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use clap::Args;
use darkhorse_backends::select::{Device, Selected};

use super::texts::Texts;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::model::weights::{self, Merged, WeightSource};
use crate::model::{CausalLm, ModelConfig};
use crate::stored::Stored;
use crate::surgery::calibration::{Recovery, Refit};
use crate::surgery::carve::TextLoss;
use crate::surgery::recovery::{self, Lesson, Progress, RefitLayer};
use crate::surgery::sparse::Phases;

/// Steps between lines of progress.
const TOLD: u64 = 10;

/// Penalty of the refit before a recovery's steps.
const PENALTY: f64 = 0.01;

/// Arguments of a recovery.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecoverArgs {
    /// Optimizer steps of one row, at most 1024 tokens, in which the dense model teaches the carved one; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    recover_steps: u64,
    /// Highest learning rate of the recovery's low-rank updates [default: 5e-4]
    #[arg(long, value_name = "RATE")]
    recover_rate: Option<f64>,
    /// Before the steps, solve for the down projections of all experts, so that the layers put out what the dense
    /// model's layers do; the number is the penalty on their change, 0: leave them [default: 0.01 with
    /// `--recover-steps`, else 0]
    #[arg(long, value_name = "PENALTY")]
    refit: Option<f64>,
}

impl RecoverArgs {
    /// Refuses numbers out of range, and a rate without steps.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let refused = |option: &str, value: f64, expected: &str| {
            let message = format!("`{option}` is {value}, expected {expected}");
            Err(Failure::input(message))
        };
        if let Some(penalty) = self.refit.filter(|it| !(*it >= 0.0 && it.is_finite())) {
            return refused("--refit", penalty, "0 or a positive number");
        }
        let Some(rate) = self.recover_rate else {
            return Ok(());
        };
        if self.recover_steps == 0 {
            return Err(Failure::input(
                "`--recover-rate` is for a recovery: give `--recover-steps N`, too",
            ));
        }
        if rate > 0.0 && rate.is_finite() {
            return Ok(());
        }
        refused("--recover-rate", rate, "a positive number")
    }

    /// Whether a recovery is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.recover_steps > 0 || self.penalty() > 0.0
    }

    /// Penalty of the refit; 0: none is asked for.
    fn penalty(&self) -> f64 {
        let default = if self.recover_steps > 0 { PENALTY } else { 0.0 };
        self.refit.unwrap_or(default)
    }

    /// Settings of the steps; `None` without steps.
    fn lesson(&self, seed: u64) -> Option<Lesson> {
        let lesson = Lesson::of_steps(self.recover_steps);
        (lesson.steps > 0).then(|| Lesson {
            learning_rate: self.recover_rate.unwrap_or(lesson.learning_rate),
            seed,
            ..lesson
        })
    }
}

/// Weights after a recovery, and what is known of it.
pub(super) struct Recovered {
    pub(super) weights: Box<dyn WeightSource>,
    pub(super) loss: Option<TextLoss>,
    pub(super) record: Recovery,
}

/// Teaches the model of `config` with the weights `carved`; `None` if no recovery is asked for.
pub(super) fn recover(
    (args, seed): (&RecoverArgs, u64),
    stored: &Stored,
    (config, carved): (&ModelConfig, &dyn WeightSource),
    texts: &Texts,
    (device, phases): (&Device, &mut Phases),
) -> Result<Option<Recovered>, Failure> {
    if !args.is_asked() {
        return Ok(None);
    }
    let (teacher, student) = phases.run("read", || -> Result<_, Failure> {
        let teacher = CausalLm::<Selected>::init(&stored.experiment.model, 0, device);
        let student = CausalLm::<Selected>::init(config, 0, device);
        Ok((
            weights::load(teacher, stored.weights.as_ref()).or_input()?,
            weights::load(student, carved).or_input()?,
        ))
    })?;
    let (student, refit) = refit(args, (&teacher, student), texts, phases);
    let Some(lesson) = args.lesson(seed) else {
        return Ok(Some(Recovered {
            weights: Box::new(recovery::weights_of(&student).or_input()?),
            loss: refit.as_ref().and_then(|it| it.loss.clone()),
            record: Recovery {
                refit,
                lesson: None,
                last: None,
            },
        }));
    };

    let mut last = None;
    let weights = phases.run("recover", || -> Result<Merged, Failure> {
        let student = CausalLm::<Autodiff<Selected>>::from_inner(student);
        let mut stream = texts.stream(seed)?;
        let begin = Instant::now();
        let told = |progress: Progress| {
            last = Some(progress);
            if progress.step == 1
                || progress.step.is_multiple_of(TOLD)
                || progress.step == lesson.steps
            {
                notice::tell(format_args!(
                    "recovery {:>4}/{}  loss {:.3}  divergence {:.4}  layer error {:.4}  {:.0} s",
                    progress.step,
                    lesson.steps,
                    progress.loss,
                    progress.divergence,
                    progress.layer_error,
                    begin.elapsed().as_secs_f64()
                ));
            }
        };
        let next = |_| stream.next_batch();
        recovery::recover(&teacher, student, (config, &lesson), next, told).or_input()
    })?;
    let loss = phases.run("measure", || -> Result<_, Failure> {
        let model = CausalLm::<Selected>::init(config, 0, device);
        let model = weights::load(model, &weights).or_input()?;
        Ok(TextLoss::measure(&model, &texts.held_out))
    })?;
    Ok(Some(Recovered {
        weights: Box::new(weights),
        loss,
        record: Recovery {
            refit,
            lesson: Some(lesson),
            last,
        },
    }))
}

/// Solves for the down projections of the student, if that is asked for.
fn refit(
    args: &RecoverArgs,
    (teacher, student): (&CausalLm<Selected>, CausalLm<Selected>),
    texts: &Texts,
    phases: &mut Phases,
) -> (CausalLm<Selected>, Option<Refit>) {
    let penalty = args.penalty();
    if penalty == 0.0 {
        return (student, None);
    }
    let mut layers = Vec::new();
    let student = phases.run("refit", || {
        let told = |layer: RefitLayer| {
            notice::tell(format_args!(
                "refit of layer {:>3}: error {:.4} -> {:.4}",
                layer.layer, layer.before, layer.after
            ));
            layers.push(layer);
        };
        recovery::refit(teacher, student, &texts.calibration, penalty, told)
    });
    let loss = phases.run("measure", || TextLoss::measure(&student, &texts.held_out));
    let refit = Refit {
        penalty,
        layers,
        loss,
    };
    (student, Some(refit))
}
