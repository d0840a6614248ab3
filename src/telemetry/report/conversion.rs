//! `receipt.html`: what the conversion of a dense model into one with experts lost and cost.

use super::document::{Document, section};
use super::format::{count, escape, significant};
use super::line::{LineChart, Look, Range, Series, Size};
use super::scores::{self, ScoreLine};

/// A figure of the dense model and of the one with experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Name of the figure.
    pub name: String,
    /// The dense model's.
    pub before: f64,
    /// That of the model with experts.
    pub after: f64,
    /// After recovery; absent if there was none.
    pub recovered: Option<f64>,
}

/// A line of a chart over the layers.
#[derive(Debug, Clone, PartialEq)]
pub struct OverLayers {
    /// Name of the line.
    pub name: String,
    /// Layer and value.
    pub points: Vec<(usize, f64)>,
}

/// Content of the page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversion {
    /// Name of the run.
    pub title: String,
    /// What was done, in one sentence.
    pub lead: String,
    /// Parameters and speed.
    pub sizes: Vec<Change>,
    /// Loss on held-out text, all of it first and then by domain; empty if it was not measured.
    pub losses: Vec<Change>,
    /// Scores on questions with known answers; empty if none were asked.
    pub scores: Vec<ScoreLine>,
    /// What the scores add up to, and which do not count.
    pub score_notes: Vec<String>,
    /// Error of every layer's output.
    pub errors: Vec<OverLayers>,
    /// Share of the chosen experts that the oracle would choose.
    pub recalls: Vec<OverLayers>,
    /// Name, seconds and, where measured, joules of every phase.
    pub phases: Vec<(String, f64, Option<f64>)>,
    /// Why energy was not measured, if it was not.
    pub energy_missing: Option<String>,
    /// The receipt as JSON text.
    pub receipt: String,
}

const SCORES: &str = "Questions with known answers, with standard errors. What is kept is the share of the dense model's score \
                      above chance, where that is more than three standard errors. Last words are those of passages of \
                      the held-out text, written by greedy decoding.";

/// Renders the page as one HTML file.
pub fn render(page: &Conversion) -> String {
    let charts = [
        chart(
            "Error by layer",
            "Squared error of the layer's output over the square of the dense layer's output, on held-out text that went \
             through the layers before as they were carved.",
            "relative squared error",
            &page.errors,
        ),
        chart(
            "Recall by layer",
            "Share of the chosen experts that are among those with the largest true contributions.",
            "recall",
            &page.recalls,
        ),
    ]
    .concat();
    let charts = if charts.is_empty() {
        charts
    } else {
        format!("<div class=\"grid2\">{charts}</div>\n")
    };
    let receipt = escape(&page.receipt);
    let body = [
        section("Size and speed", "", &changes(&page.sizes, count)),
        section(
            "Loss",
            "On held-out text, in nats per token. The bar is the loss of the model with experts, the pale bar behind it that of \
             the dense one; all bars begin at 0 and have one scale.",
            &losses(&page.losses),
        ),
        section("Tasks", SCORES, &scores(page)),
        section("Layers", "", &charts),
        section("Cost", &cost_note(page), &phases(page)),
        format!(
            "<section><h2>Receipt</h2><details class=\"card\"><summary>receipt.json</summary><pre>{receipt}</pre></details></section>\n"
        ),
    ]
    .concat();
    Document {
        title: &page.title,
        kind: "receipt of a conversion",
        lead: &escape(&page.lead),
        tiles: "",
        body: &body,
        footer: concat!(
            "Written by darkhorse-genesis ",
            env!("CARGO_PKG_VERSION"),
            " beside receipt.json of this run. Losses are in nats (natural logarithm) per token."
        ),
        live: None,
    }
    .html()
}

fn chart(title: &str, caption: &str, y_label: &str, lines: &[OverLayers]) -> String {
    let looks = [
        Look::First,
        Look::Second,
        Look::Third,
        Look::Faint,
        Look::Bound,
    ];
    let series = lines.iter().zip(looks).map(|(line, look)| Series {
        name: line.name.clone(),
        look,
        points: line
            .points
            .iter()
            .map(|&(layer, value)| (layer as f64, value))
            .collect(),
    });
    LineChart {
        title,
        caption,
        x_label: "layer",
        y_label,
        y_range: Range::FromZero,
        size: Size::Half,
        series: series.collect(),
    }
    .html()
}

fn percent(before: f64, after: f64) -> String {
    format!("{:+.1} %", 100.0 * (after / before - 1.0))
}

/// A table of figures before and after; empty without figures.
fn changes(changes: &[Change], told: fn(f64) -> String) -> String {
    let row = |change: &Change| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&change.name),
            told(change.before),
            told(change.after),
            percent(change.before, change.after)
        )
    };
    let rows: String = changes.iter().map(row).collect();
    table(
        r#"<th scope="col"></th><th scope="col">dense</th><th scope="col">with experts</th><th scope="col">change</th>"#,
        &rows,
    )
}

/// A table with bars; empty without losses.
fn losses(losses: &[Change]) -> String {
    let has_recovered = losses.iter().any(|it| it.recovered.is_some());
    let all = losses.iter().flat_map(|it| [it.before, it.after]);
    let most = all.filter(|it| it.is_finite()).fold(1e-9, f64::max);
    let row = |change: &Change| {
        let width = |loss: f64| loss / most * 100.0;
        let recovered = match change.recovered {
            Some(loss) => format!("<td>{}</td>", significant(loss)),
            None if has_recovered => "<td>–</td>".into(),
            None => String::new(),
        };
        format!(
            r#"<tr><td>{}</td><td class="bar"><svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true"><rect class="before" width="{:.1}" height="14" rx="1"/><rect class="value-bar" width="{:.1}" height="14" rx="1"/></svg></td><td>{}</td><td>{}</td>{recovered}<td>{}</td></tr>
"#,
            escape(&change.name),
            width(change.before),
            width(change.after),
            significant(change.before),
            significant(change.after),
            significant((change.after - change.before).exp()),
        )
    };
    let rows: String = losses.iter().map(row).collect();
    let recovered = if has_recovered {
        r#"<th scope="col">recovered</th>"#
    } else {
        ""
    };
    let head = format!(
        r#"<th scope="col">text</th><th scope="col" class="bar">with experts, pale dense</th><th scope="col">dense</th><th scope="col">with experts</th>{recovered}<th scope="col">perplexity, times</th>"#
    );
    table(&head, &rows)
}

fn scores(page: &Conversion) -> String {
    let (head, rows) = scores::rows(&page.scores);
    let note = |note: &String| format!("<li>{}</li>\n", escape(note));
    let notes: String = page.score_notes.iter().map(note).collect();
    let notes = if notes.is_empty() {
        notes
    } else {
        format!("<ul>\n{notes}</ul>\n")
    };
    table(&head, &rows) + &notes
}

fn phases(page: &Conversion) -> String {
    let row = |(name, seconds, joules): &(String, f64, Option<f64>)| {
        let joules = joules.map_or("–".into(), significant);
        format!(
            "<tr><td>{}</td><td>{}</td><td>{joules}</td></tr>\n",
            escape(name),
            significant(*seconds)
        )
    };
    let rows: String = page.phases.iter().map(row).collect();
    table(
        r#"<th scope="col">phase</th><th scope="col">seconds</th><th scope="col">joules</th>"#,
        &rows,
    )
}

fn cost_note(page: &Conversion) -> String {
    match &page.energy_missing {
        Some(why) => format!("Energy was not measured: {why}."),
        None => String::new(),
    }
}

fn table(head: &str, rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!(
        r#"<div class="card scroll"><table><thead><tr>{head}</tr></thead>
<tbody>{rows}</tbody></table></div>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Conversion {
        let change = |name: &str, before, after, recovered| Change {
            name: name.into(),
            before,
            after,
            recovered,
        };
        let line = |name: &str| OverLayers {
            name: name.into(),
            points: vec![(1, 0.2), (2, 0.4)],
        };
        Conversion {
            title: "runs/<carved>".into(),
            lead: "16 experts".into(),
            sizes: vec![change("parameters", 2e6, 2e6, None)],
            losses: vec![
                change("all", 2.0, 3.0, Some(2.5)),
                change("code", 1.0, 2.0, None),
            ],
            scores: vec![ScoreLine {
                task: "last words".into(),
                questions: 120,
                before: (0.375, None),
                ..ScoreLine::default()
            }],
            score_notes: vec!["a < b".into()],
            errors: vec![line("ridge"), line("oracle")],
            recalls: vec![line("ridge")],
            phases: vec![
                ("router".into(), 2.5, None),
                ("markers".into(), 1.0, Some(30.0)),
            ],
            energy_missing: Some("no meter".into()),
            receipt: "{\"a\": 1}".into(),
        }
    }

    #[test]
    fn the_page_has_pictures_of_losses_and_layers_and_says_what_was_not_measured() {
        let html = render(&page());
        assert!(html.contains("runs/&lt;carved&gt;"));
        assert!(html.contains("Error by layer") && html.contains("oracle"));
        assert!(html.matches("<svg").count() >= 4);
        assert!(html.contains("Energy was not measured: no meter."));
        assert!(html.contains("<td>router</td><td>2.50</td><td>–</td>"));
        // e^(3 - 2)
        assert!(html.contains("<td>2.72</td>"), "{html}");
        assert!(html.contains("recovered"));
        assert!(html.contains("<td>last words</td>") && html.contains("<td>0.375</td>"));
        assert!(html.contains("<li>a &lt; b</li>"));
    }

    #[test]
    fn copies_have_neither_losses_nor_layers() {
        let page = Conversion {
            losses: Vec::new(),
            scores: Vec::new(),
            score_notes: Vec::new(),
            errors: Vec::new(),
            recalls: Vec::new(),
            ..page()
        };
        let html = render(&page);
        for heading in ["<h2>Loss</h2>", "<h2>Tasks</h2>", "<h2>Layers</h2>"] {
            assert!(!html.contains(heading), "{heading}");
        }
    }
}
