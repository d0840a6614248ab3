//! Speed figures of a benchmark case.

use std::io::Write;

use crate::config::memory::Bytes;
use crate::model::dtype::Dtype;
use darkhorse_backends::select;
use serde::Serialize;

use super::measure::{Case, Run};
use crate::cli::args::CacheArgs;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::cli::output::Output;

/// Medians over the runs of a case.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    batch: usize,
    prompt_tokens: usize,
    new_tokens: usize,
    prefill_tokens_per_s: f64,
    time_to_first_token_s: f64,
    /// Speed of all requests together, in tokens per second.
    decode_tokens_per_s: f64,
    pass_duration_s: f64,
    /// Fewest bytes that a pass must read: the weights it multiplies with, and the caches.
    bytes_per_pass: f64,
    read_bytes_per_s: f64,
    bandwidth_share: f64,
    cache_bytes_per_token: u64,
    cache_bytes: usize,
    ids: Vec<u32>,
}

/// All results, as printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    backend: &'static str,
    threads: usize,
    parameters: u64,
    active_parameters: u64,
    memory_bytes_per_s: f64,
    pub(super) cases: Vec<Figures>,
    #[serde(skip)]
    headed: bool,
}

impl Figures {
    pub(super) fn of(
        loaded: &Loaded,
        case: Case,
        cache: CacheArgs,
        runs: &[Run],
        bandwidth: f64,
    ) -> Self {
        let model = &loaded.experiment.model;
        let prefill_s = median(runs.iter().map(|run| run.prefill.as_secs_f64()));
        let per_token = |run: &Run| run.decode.as_secs_f64() / run.decoded.max(1) as f64;
        let token_s = median(runs.iter().map(per_token));
        let pass_s = token_s * case.batch as f64;
        let cache = cache.dtype().unwrap_or(Dtype::F32);
        // on average half of the new tokens are in the cache
        let context = case.prompt + case.new / 2;
        let cached = case.batch as f64 * model.cache_bytes(context, cache) as f64;
        let bytes = model.weight_bytes_read(case.batch, loaded.held) as f64 + cached;
        Self {
            batch: case.batch,
            prompt_tokens: case.prompt,
            new_tokens: case.new,
            prefill_tokens_per_s: (case.batch * case.prompt) as f64 / prefill_s,
            time_to_first_token_s: prefill_s,
            decode_tokens_per_s: 1.0 / token_s,
            pass_duration_s: pass_s,
            bytes_per_pass: bytes,
            read_bytes_per_s: bytes / pass_s,
            bandwidth_share: bytes / pass_s / bandwidth,
            cache_bytes_per_token: model.cache_bytes_per_token(cache),
            cache_bytes: runs.iter().map(|run| run.cache_bytes).max().unwrap_or(0),
            ids: runs[0].ids.clone(),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

impl Report {
    pub(super) fn new(loaded: &Loaded, bandwidth: f64) -> Self {
        let model = &loaded.experiment.model;
        Self {
            backend: select::name(),
            threads: rayon::current_num_threads(),
            parameters: model.num_params(),
            active_parameters: model.num_active_params(),
            memory_bytes_per_s: bandwidth,
            cases: Vec::new(),
            headed: false,
        }
    }

    /// Prints a case as a row of the table.
    pub(super) fn line(&mut self, figures: &Figures) -> Result<(), Failure> {
        let mut out = Output::open();
        if !std::mem::replace(&mut self.headed, true) {
            writeln!(
                out,
                "{}, {} threads; {:.1} M parameters, {:.1} M active; memory reads {:.1} GB/s\n",
                self.backend,
                self.threads,
                self.parameters as f64 / 1e6,
                self.active_parameters as f64 / 1e6,
                self.memory_bytes_per_s / 1e9
            )?;
            writeln!(
                out,
                "{:>5} {:>7} {:>5} {:>15} {:>12} {:>14} {:>10} {:>10} {:>9} {:>12} {:>10}",
                "batch",
                "prompt",
                "new",
                "prefill tok/s",
                "first token",
                "decode tok/s",
                "a pass",
                "GB/s",
                "of memory",
                "cache/token",
                "caches"
            )?;
        }
        writeln!(
            out,
            "{:>5} {:>7} {:>5} {:>15.1} {:>10.1}ms {:>14.1} {:>8.2}ms {:>10.1} {:>7.0} % {:>12} {:>10}",
            figures.batch,
            figures.prompt_tokens,
            figures.new_tokens,
            figures.prefill_tokens_per_s,
            1e3 * figures.time_to_first_token_s,
            figures.decode_tokens_per_s,
            1e3 * figures.pass_duration_s,
            figures.read_bytes_per_s / 1e9,
            100.0 * figures.bandwidth_share,
            Bytes(figures.cache_bytes_per_token).to_string(),
            Bytes(figures.cache_bytes as u64).to_string()
        )?;
        Ok(())
    }
}
