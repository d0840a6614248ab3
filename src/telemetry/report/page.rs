//! The page: headline figures, then pictures, each with a sentence that says what it shows.

use crate::telemetry::record::{DomainRecord, EvalRecord, Record, StepRecord};

use super::figures;
use super::format::{count, duration, escape, significant};

const STYLE: &str = include_str!("style.css");

/// What the records do not say of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    /// Name of the run: its folder.
    pub run: String,
    /// What was trained: a preset's name, a family.
    pub model: String,
    /// Parameters.
    pub num_params: u64,
    /// Parameters that a token multiplies with.
    pub num_active_params: u64,
    /// Optimizer steps planned.
    pub num_steps: u64,
    /// Where it ran: backend and device.
    pub backend: String,
    /// What the energy meter counts, if there is one.
    pub energy_source: Option<String>,
    /// The experiment, as text.
    pub config: String,
}

/// The report as one HTML file.
pub fn render(about: &About, records: &[Record]) -> String {
    let mut steps = Vec::new();
    let mut evals = Vec::new();
    for record in records {
        match record {
            Record::Step(step) => steps.push(step.clone()),
            Record::Eval(eval) => evals.push(eval.clone()),
        }
    }
    let title = escape(&about.run);
    let sections = [
        training(&steps, &evals),
        domains(&evals),
        experts(&steps),
        routing(&evals),
        cost(&steps),
    ]
    .concat();
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · training report</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">Darkhorse Genesis · training report</p>
<h1>{title}</h1>
<p class="lead">{}</p>
{}</header>
{sections}{}<footer>Written by darkhorse-genesis {} from metrics.jsonl and config.json of this run. Losses are in nats (natural logarithm) per token; bits per byte do not depend on the tokenizer.</footer>
</main>
</body>
</html>
"#,
        lead(about, &steps),
        tiles(about, &steps, &evals),
        config(about),
        env!("CARGO_PKG_VERSION"),
    )
}

fn lead(about: &About, steps: &[StepRecord]) -> String {
    let Some(last) = steps.last() else {
        return "No step has been recorded yet.".into();
    };
    let progress = match last.step < about.num_steps {
        true => format!("{} of {} steps", last.step, about.num_steps),
        false => format!("{} steps", last.step),
    };
    format!(
        "{}, trained for {progress} on {} tokens with {}.",
        escape(&about.model),
        count(last.tokens as f64),
        escape(&about.backend)
    )
}

fn tiles(about: &About, steps: &[StepRecord], evals: &[EvalRecord]) -> String {
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
        None => tile("Valid loss", NOT_MEASURED, "no evaluation yet"),
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
            let source = about.energy_source.as_deref().unwrap_or("measured");
            let part = match share < 1.0 {
                true => format!(", on {:.0} % of the steps", share * 100.0),
                false => String::new(),
            };
            let note = format!("{}{part}", escape(source));
            tile("Energy per token", &joules(joules_per_token), &note);
        }
        None => tile("Energy per token", NOT_MEASURED, "no meter on this machine"),
    }
    tiles.push_str("</dl>\n");
    tiles
}

const NOT_MEASURED: &str = r#"<span class="none">not measured</span>"#;

fn tokens(step: &StepRecord) -> f64 {
    step.tokens_per_s * step.duration_s
}

/// Joules per token and the share of the steps that were measured.
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

fn joules(value: f64) -> String {
    match value {
        1.0.. => format!("{} J", significant(value)),
        1e-3.. => format!("{} mJ", significant(value * 1e3)),
        _ => format!("{} µJ", significant(value * 1e6)),
    }
}

fn training(steps: &[StepRecord], evals: &[EvalRecord]) -> String {
    section("Learning", "", &figures::loss(steps, evals))
}

fn domains(evals: &[EvalRecord]) -> String {
    let Some(last) = evals.last().filter(|eval| !eval.domains.is_empty()) else {
        return String::new();
    };
    let first = evals.first().filter(|first| first.step < last.step);
    let before = |of: &DomainRecord| {
        let mut domains = first?.domains.iter();
        domains.find(|it| it.domain == of.domain).map(|it| it.loss)
    };
    let losses = last
        .domains
        .iter()
        .flat_map(|it| [Some(it.loss), before(it)]);
    let most = losses
        .flatten()
        .filter(|loss| loss.is_finite())
        .fold(1e-9, f64::max);
    let row = |name: &str, class: &str, loss: f64, before: Option<f64>, bits: f64, tokens: u64| {
        let width = |loss: f64| loss / most * 100.0;
        let shadow = before.map_or(String::new(), |before| {
            format!(
                r#"<rect class="before" width="{:.1}" height="14" rx="1"/>"#,
                width(before)
            )
        });
        let from = before.map_or("–".into(), significant);
        format!(
            r#"<tr{class}><td>{name}</td><td class="bar"><svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">{shadow}<rect class="value-bar" width="{:.1}" height="14" rx="1"/></svg></td><td>{from}</td><td>{}</td><td>{}</td><td>{}</td></tr>
"#,
            width(loss),
            significant(loss),
            significant(bits),
            count(tokens as f64),
        )
    };
    let mut rows = String::new();
    for it in &last.domains {
        let name = it.domain.name();
        rows += &row(name, "", it.loss, before(it), it.bits_per_byte, it.tokens);
    }
    let tokens = last.domains.iter().map(|it| it.tokens).sum();
    let start = first.map(|first| first.loss);
    rows += &row(
        "all",
        r#" class="all""#,
        last.loss,
        start,
        last.bits_per_byte,
        tokens,
    );
    let about = match first {
        Some(first) => format!(
            "Loss on held-out text of each domain at step {}; pale, the same at step {}.",
            last.step, first.step
        ),
        None => format!(
            "Loss on held-out text of each domain at step {}.",
            last.step
        ),
    };
    let table = format!(
        r#"<div class="card scroll"><table><thead><tr><th scope="col">domain</th><th></th><th scope="col">loss, first</th><th scope="col">loss, last</th><th scope="col">bits per byte</th><th scope="col">tokens</th></tr></thead>
<tbody>{rows}</tbody></table></div>
"#
    );
    section("Domains", &about, &table)
}

fn experts(steps: &[StepRecord]) -> String {
    section("Experts", "", &figures::expert_load(steps))
}

fn routing(evals: &[EvalRecord]) -> String {
    let Some(eval) = evals.last() else {
        return String::new();
    };
    let share = |table: Option<f64>| match table {
        Some(share) => format!(
            " On average {:.0} % of the choices fall on experts of the token's own domain or of general.",
            share * 100.0
        ),
        None => String::new(),
    };
    let mut body = String::new();
    if let Some(table) = &eval.routing_untagged {
        let caption = format!(
            "Percent of the choices; at the right, the lift: the own domain's share over chance. The router \
             has to find the domain by itself.{}",
            share(table.share_own_or_general())
        );
        body += &figures::routing("Without the document's tag", &caption, table);
    }
    if let Some(table) = &eval.routing_tagged {
        let caption = format!(
            "The same with the tag shown to the router.{}",
            share(table.share_own_or_general())
        );
        body += &figures::routing("With the document's tag", &caption, table);
    }
    if body.is_empty() {
        return body;
    }
    let about = format!(
        "Whose experts the tokens of each domain visit, on held-out text at step {}.",
        eval.step
    );
    section(
        "Routing",
        &about,
        &format!("<div class=\"grid2\">{body}</div>\n"),
    )
}

fn cost(steps: &[StepRecord]) -> String {
    let body = [
        figures::max_vio(steps),
        figures::speed(steps),
        figures::learning_rate(steps),
        figures::grad_norm(steps),
        figures::mtp_loss(steps),
        figures::energy(steps),
    ]
    .concat();
    match body.is_empty() {
        true => body,
        false => section(
            "Step by step",
            "",
            &format!("<div class=\"grid2\">{body}</div>\n"),
        ),
    }
}

fn config(about: &About) -> String {
    match about.config.is_empty() {
        true => String::new(),
        false => format!(
            "<section><h2>Config</h2><details class=\"card\"><summary>config.json</summary><pre>{}</pre></details></section>\n",
            escape(&about.config)
        ),
    }
}

fn section(title: &str, about: &str, body: &str) -> String {
    match body.is_empty() {
        true => String::new(),
        false => format!(
            "<section><h2>{title}</h2><p>{}</p>\n{body}</section>\n",
            escape(about)
        ),
    }
}
