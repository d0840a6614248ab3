//! Speed of one model.

use indicatif::ProgressBar;

use super::measure::{Case, runs};
use crate::cli::args::CacheArgs;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::surgery::calibration::Speed;

/// Runs that count.
const RUNS: usize = 5;

/// A single sequence, as for one user.
const CASE: Case = Case {
    prompt: 512,
    new: 64,
    batch: 1,
};

/// Speeds of prefill and decoding, one sequence at a time: medians after a warm-up.
pub(crate) fn speed_of(model: &Loaded) -> Result<Speed, Failure> {
    let context = model.experiment.model.max_position_embeddings;
    let case = Case {
        prompt: CASE.prompt.min(context / 2).max(1),
        new: CASE.new.min(context / 2).max(2),
        ..CASE
    };
    let runs = runs(
        model,
        case,
        CacheArgs::default(),
        RUNS,
        &ProgressBar::hidden(),
    )?;
    let median = |mut speeds: Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    };
    let prefill = runs
        .iter()
        .map(|run| case.prompt as f64 / run.prefill.as_secs_f64());
    let decode = runs
        .iter()
        .map(|run| run.decoded as f64 / run.decode.as_secs_f64());
    Ok(Speed {
        prompt: case.prompt,
        prefill_per_second: median(prefill.collect()),
        decode_per_second: median(decode.collect()),
    })
}
