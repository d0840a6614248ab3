//! Several training runs over each other.

use std::fmt::Write;

use crate::telemetry::record::{EvalRecord, MitosisRecord, Record, StepRecord};

use super::document::{Document, section};
use super::figures::smooth;
use super::format::{count, escape, significant};
use super::line::{LineChart, Look, Range, Series, Size};
use super::page::About;

/// A run beside others.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// Its name among them.
    pub name: &'a str,
    /// Address of its own page.
    pub address: &'a str,
    /// Its description.
    pub about: &'a About,
    /// Its journal.
    pub records: &'a [Record],
}

/// What is drawn of a run.
struct Curves<'a> {
    name: &'a str,
    steps: Vec<&'a StepRecord>,
    evals: Vec<&'a EvalRecord>,
    events: Vec<&'a MitosisRecord>,
}

impl<'a> Curves<'a> {
    fn new(run: &Compared<'a>) -> Self {
        let mut curves = Self {
            name: run.name,
            steps: Vec::new(),
            evals: Vec::new(),
            events: Vec::new(),
        };
        for record in run.records {
            match record {
                Record::Step(step) => curves.steps.push(step),
                Record::Eval(eval) if eval.is_measured() => curves.evals.push(eval),
                Record::Mitosis(event) => curves.events.push(event),
                Record::Eval(_) | Record::Skipped(_) | Record::Samples(_) => {}
            }
        }
        curves
    }

    /// Values over the tokens trained on, each the mean of a few steps before.
    fn over_tokens(&self, value: impl Fn(&StepRecord) -> Option<f64>) -> Vec<(f64, f64)> {
        let points = self.steps.iter();
        let points = points.filter_map(|step| Some((step.tokens as f64, value(step)?)));
        let points: Vec<_> = points.collect();
        smooth(&points, (self.steps.len() / 40).max(1))
    }

    /// Tokens trained on after a number of steps.
    fn tokens_at(&self, step: u64) -> Option<f64> {
        if step == 0 {
            return Some(0.0);
        }
        let place = self.steps.binary_search_by_key(&step, |it| it.step).ok()?;
        Some(self.steps[place].tokens as f64)
    }

    fn evaluated(&self, value: impl Fn(&EvalRecord) -> f64) -> Vec<(f64, f64)> {
        let points = self.evals.iter();
        let points = points.filter_map(|eval| Some((self.tokens_at(eval.step)?, value(eval))));
        points.collect()
    }

    /// Experts in use, over all routed layers, after each event of mitosis.
    fn experts(&self) -> Vec<(f64, f64)> {
        let points = self.events.iter().filter_map(|event| {
            let tokens = self.tokens_at(event.step)?;
            Some((tokens, event.experts_in_use.iter().sum::<usize>() as f64))
        });
        points.collect()
    }
}

/// Renders the page. `live` is what it says of its state, as HTML; the page loads the script `/live.js`, with which a
/// server renews it.
pub fn render(runs: &[Compared<'_>], live: &str) -> String {
    let curves: Vec<Curves<'_>> = runs.iter().map(Curves::new).collect();
    let charts = [
        chart(
            ("Held-out loss", "nats per token", Range::Values),
            "Loss on each run's own held-out text.",
            &curves,
            |run| run.evaluated(|eval| eval.loss),
        ),
        chart(
            ("Bits per byte", "bits per byte", Range::Values),
            "The held-out loss per byte of text, which does not depend on the tokenizer.",
            &curves,
            |run| run.evaluated(|eval| eval.bits_per_byte),
        ),
        chart(
            ("Load violation", "MaxVio", Range::FromZero),
            "How much more than its target the busiest expert of the worst layer took, over 20 steps.",
            &curves,
            |run| run.over_tokens(|step| step.max_vio_global),
        ),
        chart(
            ("Speed", "tokens per second", Range::FromZero),
            "Tokens trained on per second of wall time, without evaluations and saves.",
            &curves,
            |run| run.over_tokens(|step| Some(step.tokens_per_s)),
        ),
        chart(
            ("Learning rate", "learning rate", Range::FromZero),
            "The rate that the schedule gave to each step.",
            &curves,
            |run| run.over_tokens(|step| Some(step.lr)),
        ),
        chart(
            ("Energy", "millijoules per token", Range::FromZero),
            "Measured energy per token trained on.",
            &curves,
            |run| {
                run.over_tokens(|step| {
                    let tokens = step.tokens_per_s * step.duration_s;
                    (tokens > 0.0).then_some(step.energy_j? / tokens * 1e3)
                })
            },
        ),
        chart(
            ("Experts in use", "experts", Range::FromZero),
            "Experts of all routed layers together, after each division or retirement.",
            &curves,
            |run| run.experts(),
        ),
    ];
    let body = [
        section("Runs", "", &table(runs, &curves)),
        section("Learning", "", &loss(&curves)),
        section(
            "Beside each other",
            "Means over a fortieth of each run's steps; a run without a measurement is left out of its chart.",
            &format!("<div class=\"grid2\">{}</div>\n", charts.concat()),
        ),
    ];
    Document {
        title: &format!("{} runs", runs.len()),
        kind: "training runs",
        lead: "Training runs over each other, by the tokens that they were trained on.",
        tiles: "",
        body: &body.concat(),
        footer: concat!(
            "Shown by darkhorse-genesis ",
            env!("CARGO_PKG_VERSION"),
            " from metrics.jsonl of each run. Losses are in nats (natural logarithm) per token."
        ),
        live: Some(live),
    }
    .html()
}

fn loss(curves: &[Curves<'_>]) -> String {
    let lines = |run: &Curves<'_>| run.over_tokens(|step| Some(step.loss));
    sized(
        ("Loss", "loss (nats per token)", Range::Values),
        "Next-token loss on the training text, each the mean over a fortieth of the run's steps.",
        (curves, Size::Wide),
        lines,
    )
}

fn chart(
    names: (&str, &str, Range),
    caption: &str,
    curves: &[Curves<'_>],
    points: impl Fn(&Curves<'_>) -> Vec<(f64, f64)>,
) -> String {
    sized(names, caption, (curves, Size::Half), points)
}

fn sized(
    (title, y_label, y_range): (&str, &str, Range),
    caption: &str,
    (curves, size): (&[Curves<'_>], Size),
    points: impl Fn(&Curves<'_>) -> Vec<(f64, f64)>,
) -> String {
    let series = curves.iter().enumerate().map(|(number, run)| Series {
        name: run.name.into(),
        look: Look::Run(number),
        points: points(run),
    });
    LineChart {
        title,
        caption,
        x_label: "tokens trained on",
        y_label,
        y_range,
        size,
        series: series.filter(|one| !one.points.is_empty()).collect(),
    }
    .html()
}

/// The newest figures of all runs.
fn table(runs: &[Compared<'_>], curves: &[Curves<'_>]) -> String {
    let mut rows = String::new();
    for (run, curves) in runs.iter().zip(curves) {
        let missing = || "–".to_owned();
        let last = curves.steps.last();
        let eval = curves.evals.last();
        let of =
            |value: fn(&StepRecord) -> f64| last.map_or_else(missing, |it| significant(value(it)));
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(run.address),
            escape(run.name),
            count(run.about.num_params as f64),
            last.map_or_else(missing, |it| count(it.step as f64)),
            last.map_or_else(missing, |it| count(it.tokens as f64)),
            of(|step| step.loss),
            eval.map_or_else(missing, |it| significant(it.loss)),
            eval.map_or_else(missing, |it| significant(it.bits_per_byte)),
        );
    }
    format!(
        r#"<div class="card scroll figures"><table><thead><tr><th scope="col">run</th><th scope="col">parameters</th><th scope="col">steps</th><th scope="col">tokens</th><th scope="col">loss of the last step</th><th scope="col">held-out loss</th><th scope="col">bits per byte</th></tr></thead>
<tbody>{rows}</tbody></table></div>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, tokens: u64, loss: f64) -> Record {
        Record::Step(StepRecord {
            step,
            tokens,
            loss,
            ..Default::default()
        })
    }

    #[test]
    fn runs_are_drawn_by_their_tokens_and_names_are_text() {
        let [first, second] = [(256, 3.0), (512, 2.0)].map(|(tokens, loss)| {
            let records = (1..=4).map(|number| step(number, number * tokens, loss));
            let mut records: Vec<Record> = records.collect();
            records.push(Record::Mitosis(MitosisRecord {
                step: 3,
                experts_in_use: vec![4, 5],
                ..Default::default()
            }));
            records
        });
        let about = About::default();
        let run = |name, address, records| Compared {
            name,
            address,
            about: &about,
            records,
        };
        let runs = [
            run("<b>a</b>", "/runs/0", &first[..]),
            run("b", "/runs/1", &second[..]),
        ];
        let html = render(&runs, "now");
        assert!(!html.contains("<b>a"), "{html}");
        for text in [
            "<a href=\"/runs/0\">&lt;b&gt;a&lt;/b&gt;</a>",
            "class=\"line run0\"",
            "class=\"line run1\"",
            "Experts in use",
            "<p class=\"live\" id=\"live\">now</p>",
            "src=\"/live.js\"",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        // what no run has measured is not drawn
        for text in ["Held-out loss", "Energy", "Load violation"] {
            assert!(!html.contains(&format!("<h3>{text}</h3>")), "{text}");
        }
        let curves = runs.each_ref().map(Curves::new);
        assert_eq!(curves[1].over_tokens(|it| Some(it.loss))[3], (2048.0, 2.0));
        assert_eq!(curves[1].experts(), [(1536.0, 9.0)]);
        let places = [0, 2, 9].map(|step| curves[1].tokens_at(step));
        assert_eq!(places, [Some(0.0), Some(1024.0), None]);
    }
}
