//! The headline figures of a run.

use std::collections::BTreeSet;

use crate::telemetry::record::{EvalRecord, StepRecord};

use super::format::{count, duration, escape, significant};
use super::page::About;

/// The figures as a list of terms; empty without steps.
pub(super) fn tiles(about: &About, steps: &[StepRecord], evals: &[EvalRecord]) -> String {
    let Some(last) = steps.last() else {
        return String::new();
    };
    let mut tiles = String::from("<dl class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, note: &str| {
        tiles.push_str(&format!(
            "<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>\n"
        ));
    };
    let active = format!("{} active per token", count(about.num_active_params as f64));
    tile("Parameters", &count(about.num_params as f64), &active);
    let planned = match about.num_steps {
        0 => String::new(),
        planned => format!("of {} planned", count(planned as f64)),
    };
    tile("Steps", &count(last.step as f64), &planned);
    let per_step = last.tokens as f64 / last.step.max(1) as f64;
    tile(
        "Tokens",
        &count(last.tokens as f64),
        &format!("{} a step", count(per_step)),
    );
    match evals.last() {
        Some(eval) => {
            let at = format!("nats per token, at step {}", eval.step);
            tile("Valid loss", &significant(eval.loss), &at);
            tile(
                "Bits per byte",
                &significant(eval.bits_per_byte),
                "of held-out text",
            );
        }
        None => tile("Valid loss", NOT_MEASURED, "no held-out text"),
    }
    let wall_s: f64 = steps.iter().map(|step| step.duration_s).sum();
    let measured: f64 = steps.iter().map(tokens).sum();
    if wall_s > 0.0 {
        tile(
            "Speed",
            &count((measured / wall_s).round()),
            "tokens per second",
        );
    }
    tile("Wall time", &duration(wall_s), "in training steps");
    match energy_per_token(steps) {
        Some((joules_per_token, share)) => {
            let source = sources(steps).unwrap_or_else(|| "measured".into());
            let part = if share < 1.0 {
                format!(", on {:.0} % of the steps", share * 100.0)
            } else {
                String::new()
            };
            let note = format!("{}{part}", escape(&source));
            tile("Energy per token", &joules(joules_per_token), &note);
        }
        None => {
            let missing = about.energy_missing.as_deref();
            let missing = escape(missing.unwrap_or("no meter on this machine"));
            tile("Energy per token", NOT_MEASURED, &missing);
        }
    }
    tiles.push_str("</dl>\n");
    tiles
}

const NOT_MEASURED: &str = r#"<span class="none">not measured</span>"#;

fn tokens(step: &StepRecord) -> f64 {
    step.tokens_per_s * step.duration_s
}

/// Energy per token in joules, and the fraction of the steps that were measured.
fn energy_per_token(steps: &[StepRecord]) -> Option<(f64, f64)> {
    let measured: Vec<_> = steps
        .iter()
        .filter(|step| step.energy_j.is_some())
        .collect();
    let energy_j: f64 = measured.iter().filter_map(|step| step.energy_j).sum();
    let tokens: f64 = measured.iter().map(|step| tokens(step)).sum();
    let share = measured.len() as f64 / steps.len() as f64;
    (tokens > 0.0).then(|| (energy_j / tokens, share))
}

/// The energy sources of the steps; several if the run used several machines.
fn sources(steps: &[StepRecord]) -> Option<String> {
    let measured = steps.iter().filter(|step| step.energy_j.is_some());
    let named = measured.filter_map(|step| step.energy_source.as_deref());
    let sources: BTreeSet<&str> = named.collect();
    let sources: Vec<_> = sources.into_iter().collect();
    (!sources.is_empty()).then(|| sources.join("; "))
}

fn joules(value: f64) -> String {
    match value {
        1.0.. => format!("{} J", significant(value)),
        1e-3.. => format!("{} mJ", significant(value * 1e3)),
        _ => format!("{} µJ", significant(value * 1e6)),
    }
}
