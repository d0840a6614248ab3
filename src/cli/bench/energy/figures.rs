//! Energy figures from repeated measurements.

use std::io::{self, Write};

use darkhorse_backends::select;
use serde::Serialize;

use super::Case;
use super::windows::{PerToken, Repeat};
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::cli::output::Output;
use crate::telemetry::Interval;
use crate::telemetry::energy::{Idle, Monitor};

/// Largest error at each edge of a window, in seconds: one step of a counter.
const STEP_S: f64 = 0.1;

/// A case with its measurements.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) repeats: Vec<Repeat>,
}

/// All results, as printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    backend: &'static str,
    threads: usize,
    parameters: u64,
    active_parameters: u64,
    weights: &'static str,
    /// The devices with their sources.
    source: String,
    /// Driver version and power limits.
    facts: Vec<String>,
    idle: Option<Idle>,
    window_s: f64,
    cases: Vec<Figures>,
}

/// Figures of one case; null if not measured.
#[derive(Debug, Serialize)]
struct Figures {
    batch: usize,
    prompt_tokens: usize,
    new_tokens: usize,
    repeats: usize,
    prefill_j_per_token: Energies,
    decode_j_per_token: Energies,
    power_w: Option<Interval>,
}

#[derive(Debug, Serialize)]
struct Energies {
    gross: Option<Interval>,
    net: Option<Interval>,
}

impl Measured {
    pub(super) fn new(case: Case) -> Self {
        let repeats = Vec::new();
        Self { case, repeats }
    }

    fn figures(&self) -> Figures {
        let of = |value: &dyn Fn(&Repeat) -> Option<f64>| {
            let values: Vec<f64> = self.repeats.iter().filter_map(value).collect();
            Interval::of(&values)
        };
        let energies = |phase: fn(&Repeat) -> PerToken| Energies {
            gross: of(&|it| phase(it).gross),
            net: of(&|it| phase(it).net),
        };
        Figures {
            batch: self.case.batch,
            prompt_tokens: self.case.prompt,
            new_tokens: self.case.new,
            repeats: self.repeats.len(),
            prefill_j_per_token: energies(|it| it.prefill_j),
            decode_j_per_token: energies(|it| it.decode_j),
            power_w: of(&|it| it.power_w),
        }
    }
}

impl Report {
    pub(super) fn new(
        loaded: &Loaded,
        monitor: &Monitor,
        window_s: f64,
        idle: Option<Idle>,
        measured: &[Measured],
    ) -> Self {
        let model = &loaded.experiment.model;
        let repeats = measured.iter().flat_map(|case| &case.repeats);
        let mut sources: Vec<_> = repeats.map(|repeat| repeat.source.clone()).collect();
        sources.sort();
        sources.dedup();
        Self {
            backend: select::name(),
            threads: rayon::current_num_threads(),
            parameters: model.num_params(),
            active_parameters: model.num_active_params(),
            weights: loaded.held.name(),
            source: sources.join("; "),
            facts: monitor.facts(),
            idle,
            window_s,
            cases: measured.iter().map(Measured::figures).collect(),
        }
    }

    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        let mut out = Output::open();
        if json {
            serde_json::to_writer(&mut out, self)?;
            writeln!(out)?;
            return Ok(());
        }
        writeln!(
            out,
            "{}, {} threads; {:.1} M parameters, {:.1} M active, weights in {}",
            self.backend,
            self.threads,
            self.parameters as f64 / 1e6,
            self.active_parameters as f64 / 1e6,
            self.weights
        )?;
        writeln!(out, "measured: {}", self.source)?;
        for fact in &self.facts {
            writeln!(out, "{fact}")?;
        }
        match &self.idle {
            Some(idle) => writeln!(
                out,
                "idle: {:.1} W over {:.0} s",
                idle.power_w, idle.duration_s
            )?,
            None => writeln!(out, "idle: not measured, so there are no net figures")?,
        }
        writeln!(
            out,
            "windows of {} s, whose edges may be off by {:.1} %; mean ± half of the 95 % interval over repeats",
            self.window_s,
            200.0 * STEP_S / self.window_s
        )?;
        self.cases
            .iter()
            .try_for_each(|case| case.write(&mut out))?;
        Ok(())
    }
}

impl Figures {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\nbatch {}, {} tokens of prompt, {} new; {} repeats",
            self.batch, self.prompt_tokens, self.new_tokens, self.repeats
        )?;
        let lines = [
            (
                "prefill, gross",
                "J per prompt token",
                self.prefill_j_per_token.gross,
            ),
            (
                "prefill, net",
                "J per prompt token",
                self.prefill_j_per_token.net,
            ),
            (
                "decode, gross",
                "J per new token",
                self.decode_j_per_token.gross,
            ),
            (
                "decode, net",
                "J per new token",
                self.decode_j_per_token.net,
            ),
            ("mean power", "W", self.power_w),
        ];
        for (name, unit, value) in lines {
            let Some(value) = value else {
                writeln!(out, "  {name:<15} not measured")?;
                continue;
            };
            write!(out, "  {name:<15} {value} {unit}")?;
            if value.repeats() < self.repeats {
                write!(out, ", of {} repeats only", value.repeats())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
