//! Speed of two models, measured alternately.

use darkhorse_backends::awake;
use indicatif::ProgressBar;

use super::measure::{Case, Run, run};
use crate::cli::args::CacheArgs;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;

/// Runs per model that count.
const RUNS: usize = 5;

/// A single sequence, as for one user.
const CASE: Case = Case {
    prompt: 128,
    new: 64,
    batch: 1,
};

/// Decoding speeds of two models in tokens per second, one sequence at a time: medians of alternating runs after a
/// warm-up.
pub(crate) fn decoded_per_second(models: [&Loaded; 2]) -> Result<[f64; 2], Failure> {
    let shortest = models.map(|it| it.experiment.model.max_position_embeddings);
    let context = shortest.into_iter().min().unwrap_or(CASE.prompt);
    let case = Case {
        prompt: CASE.prompt.min(context / 2).max(1),
        new: CASE.new.min(context / 2),
        ..CASE
    };
    let one = |model: &Loaded| -> Result<f64, Failure> {
        let Run {
            decode, decoded, ..
        } = run(model, case, CacheArgs::default(), &ProgressBar::hidden())?;
        Ok(decoded as f64 / decode.as_secs_f64())
    };
    awake(|| {
        let mut speeds = [Vec::new(), Vec::new()];
        for round in 0..=RUNS {
            for (model, speeds) in models.iter().zip(&mut speeds) {
                let speed = one(model)?;
                if round > 0 {
                    speeds.push(speed);
                }
            }
        }
        Ok(speeds.map(|mut speeds| {
            speeds.sort_by(f64::total_cmp);
            speeds[speeds.len() / 2]
        }))
    })
}
