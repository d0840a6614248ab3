//! `report.html`: headline figures, then charts, each with a sentence that explains it.

use crate::domain::Domain;
use crate::telemetry::record::{
    DomainRecord, EvalRecord, MitosisRecord, Record, SamplesRecord, SkippedRecord, StepRecord,
};

use super::document::{Document, section};
use super::figures;
use super::format::{count, escape, significant};
use super::growth;
use super::maps;
use super::tiles::tiles;

/// Description of a run, apart from its records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct About {
    /// Name of the run's folder.
    pub run: String,
    /// Name of the preset, if the model is one.
    pub preset: Option<String>,
    /// The kind of model, in a few words.
    pub model: String,
    /// Number of parameters.
    pub num_params: u64,
    /// Number of parameters active per token.
    pub num_active_params: u64,
    /// Number of optimizer steps planned.
    pub num_steps: u64,
    /// Backend and device; empty if they are not known.
    pub backend: String,
    /// Why energy was not measured, if it was not.
    pub energy_missing: Option<String>,
    /// Names of the routed layers, in the order of the recorded loads.
    pub routed_layers: Vec<String>,
    /// Domain of every expert; empty if domains have no effect.
    pub expert_domains: Vec<Domain>,
    /// The experiment as JSON text.
    pub config: String,
}

/// Renders the report as one HTML file.
pub fn render(about: &About, records: &[Record]) -> String {
    page(about, records, None)
}

/// Renders the report as a page that a server renews while the run goes on. `live` is what it says of its state, as
/// HTML; the page loads the script `/live.js`.
pub fn render_live(about: &About, records: &[Record], live: &str) -> String {
    page(about, records, Some(live))
}

fn page(about: &About, records: &[Record], live: Option<&str>) -> String {
    let mut steps = Vec::new();
    let mut evals = Vec::new();
    let mut events = Vec::new();
    let (mut written, mut left_out) = (None, None);
    for record in records {
        match record {
            Record::Step(step) => steps.push(step.clone()),
            Record::Eval(eval) if eval.is_measured() => evals.push(eval.clone()),
            Record::Eval(_) => {}
            Record::Mitosis(event) => events.push(event.clone()),
            Record::Skipped(record) => left_out = Some(record),
            Record::Samples(record) => written = Some(record),
        }
    }
    let body = [
        training(&steps, &evals),
        domains(&evals),
        experts(about, &steps),
        growth(about, &events),
        routing(&evals),
        cost(&steps),
        written.map_or_else(String::new, samples),
        left_out.map_or_else(String::new, skipped),
        config(about),
    ]
    .concat();
    Document {
        title: &about.run,
        kind: "training report",
        lead: &lead(about, &steps),
        tiles: &tiles(about, &steps, &evals),
        body: &body,
        footer: concat!(
            "Written by darkhorse-genesis ",
            env!("CARGO_PKG_VERSION"),
            " from metrics.jsonl and config.json of this run. Losses are in nats (natural logarithm) per token; bits per byte do not depend on the tokenizer."
        ),
        live,
    }
    .html()
}

fn lead(about: &About, steps: &[StepRecord]) -> String {
    let Some(last) = steps.last() else {
        return "No step has been recorded yet.".into();
    };
    let progress = if last.step < about.num_steps {
        format!("{} of {} steps", last.step, about.num_steps)
    } else {
        format!("{} steps", last.step)
    };
    let preset = about.preset.as_ref();
    let preset = preset.map_or_else(String::new, |name| format!("{}: ", escape(name)));
    let backend = match about.backend.as_str() {
        "" => String::new(),
        backend => format!(" with {}", escape(backend)),
    };
    format!(
        "{preset}{}, trained for {progress} on {} tokens{backend}.",
        escape(&about.model),
        count(last.tokens as f64),
    )
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
        let name = it.name();
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
            "Loss on held-out text of each domain, in nats per token. The bar is the loss at step {}, the pale bar behind it \
             the one at step {}; all bars begin at 0 and have one scale, to {}.",
            last.step,
            first.step,
            significant(most)
        ),
        None => format!(
            "Loss on held-out text of each domain at step {}, in nats per token. All bars begin at 0 and have one scale, to {}.",
            last.step,
            significant(most)
        ),
    };
    let table = format!(
        r#"<div class="card scroll"><table><thead><tr><th scope="col">domain</th><th scope="col" class="bar">last loss, pale the first</th><th scope="col">loss, first</th><th scope="col">loss, last</th><th scope="col">bits per byte</th><th scope="col">tokens</th></tr></thead>
<tbody>{rows}</tbody></table></div>
"#
    );
    section("Domains", &about, &table)
}

fn experts(about: &About, steps: &[StepRecord]) -> String {
    let map = maps::expert_load(steps, &about.routed_layers, &about.expert_domains);
    section("Experts", "", &map)
}

fn growth(about: &About, events: &[MitosisRecord]) -> String {
    section(
        "Growth",
        "When experts divided and went. The loss is that of the same rows just before and just after: a division changes \
         nothing that the model computes.",
        &growth::timeline(events, &about.routed_layers),
    )
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
        body += &maps::routing("Without the document's tag", &caption, table);
    }
    if let Some(table) = &eval.routing_tagged {
        let what = if body.is_empty() {
            "Percent of the choices with the tag shown to the router; at the right, the lift: the own domain's share over chance."
        } else {
            "The same with the tag shown to the router."
        };
        let caption = format!("{what}{}", share(table.share_own_or_general()));
        body += &maps::routing("With the document's tag", &caption, table);
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
    if body.is_empty() {
        body
    } else {
        section(
            "Step by step",
            "",
            &format!("<div class=\"grid2\">{body}</div>\n"),
        )
    }
}

/// Sample texts of the model.
fn samples(record: &SamplesRecord) -> String {
    let mut rows = String::new();
    for sample in &record.samples {
        let name = sample.domain.map_or("text", Domain::name);
        rows += &format!(
            "<dt>{name}<small>seed {}</small></dt><dd>{}</dd>\n",
            sample.seed,
            escape(&sample.text)
        );
    }
    if rows.is_empty() {
        return rows;
    }
    let about = format!(
        "What the model writes after step {} when it is told nothing but the domain, each from a seed of its own.",
        record.step
    );
    section(
        "Samples",
        &about,
        &format!("<dl class=\"card samples\">\n{rows}</dl>\n"),
    )
}

/// Documents that were skipped.
fn skipped(record: &SkippedRecord) -> String {
    let items: String = record
        .examples
        .iter()
        .map(|example| format!("<li>{}</li>\n", escape(example)))
        .collect();
    let (documents, first) = match (record.count, record.examples.len()) {
        (1, _) => ("1 document".to_owned(), ""),
        (count, shown) => (
            format!("{} documents", count_of(count)),
            if (shown as u64) < count {
                "; the first"
            } else {
                ""
            },
        ),
    };
    let about = format!(
        "{documents} of the data could not be read and were left out, as asked for{first}:"
    );
    section(
        "Left out",
        &about,
        &format!("<ul class=\"card\">\n{items}</ul>\n"),
    )
}

fn count_of(number: u64) -> String {
    count(number as f64)
}

fn config(about: &About) -> String {
    if about.config.is_empty() {
        String::new()
    } else {
        format!(
            "<section><h2>Config</h2><details class=\"card\"><summary>config.json</summary><pre>{}</pre></details></section>\n",
            escape(&about.config)
        )
    }
}
