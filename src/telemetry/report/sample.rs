//! An invented run, for tests of the report and for looking at it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::domain::Domain;
use crate::telemetry::record::{
    DomainRecord, EvalRecord, Record, RoutingTable, SampleRecord, SamplesRecord, SkippedRecord,
    StepRecord,
};

use super::page::{About, render};

const STEPS: u64 = 600;
const EXPERTS: usize = 20;
const LAYERS: usize = 5;

fn about() -> About {
    About {
        run: "tiny-2026-01-14".into(),
        preset: Some("tiny".into()),
        model: "a mixture of 21 experts of which a token visits 3, 4 layers of width 128".into(),
        num_params: 3_412_480,
        num_active_params: 1_107_200,
        num_steps: STEPS,
        backend: "flex on 2 CPU cores".into(),
        energy_missing: None,
        routed_layers: (2..=LAYERS)
            .map(|layer| format!("layer {layer}"))
            .chain(["MTP 1".into()])
            .collect(),
        expert_domains: (0..EXPERTS)
            .map(|expert| Domain::ALL[expert % Domain::COUNT])
            .collect(),
        config: "{\n  \"hidden_size\": 128,\n  \"text\": \"<b>\"\n}".into(),
    }
}

fn step(step: u64, rng: &mut SmallRng) -> StepRecord {
    let t = step as f64 / STEPS as f64;
    let noise = |rng: &mut SmallRng| rng.random_range(-1.0..1.0) + rng.random_range(-1.0..1.0);
    let loss = 2.05 + 5.2 * (-t * 14.0).exp() + 1.1 * (-t * 2.2).exp() + 0.07 * noise(rng);
    let warm = (t / 0.05).min(1.0) * ((1.0 - t) / 0.1).min(1.0);
    let vio = 0.22 + 1.9 * (-t * 9.0).exp();
    let tokens_per_s = 9_400.0 + 330.0 * noise(rng) - if step == 1 { 5_000.0 } else { 0.0 };
    StepRecord {
        step,
        tokens: step * 2048,
        loss,
        mtp_loss: Some(loss + 0.6 - 0.2 * t),
        aux_loss: Some(1e-4),
        lr: 1.5e-3 * warm,
        grad_norm: 0.5 + 3.0 * (-t * 20.0).exp() + 0.12 * noise(rng).abs(),
        max_vio_batch: Some(vio * (1.0 + 0.2 * noise(rng)) + 0.2),
        max_vio_global: Some(vio),
        tokens_per_s,
        duration_s: 2048.0 / tokens_per_s,
        energy_j: Some(2048.0 * 4.1e-3 * (1.0 + 0.05 * noise(rng))),
        energy_source: Some("CPU package-0 (RAPL counter)".into()),
        expert_loads: (0..LAYERS)
            .map(|layer| {
                let load = |expert| 205.0 * (1.0 + 0.3 * ((expert * 7 + layer * 3) as f64).sin());
                (0..EXPERTS)
                    .map(|expert| (load(expert) + 20.0 * noise(rng)) as u64)
                    .collect()
            })
            .collect(),
        null_loads: Vec::new(),
    }
}

fn routing(own: f64, rng: &mut SmallRng) -> RoutingTable {
    let general = Domain::General.index();
    let share = (0..Domain::COUNT).map(|row| {
        let mut shares: Vec<f64> = (0..Domain::COUNT)
            .map(|column| match column {
                _ if column == row => own,
                _ if column == general => 0.14,
                _ => 0.05,
            } * rng.random_range(0.6..1.4))
            .collect();
        let sum: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= sum);
        shares
    });
    RoutingTable {
        share: share.collect(),
        chance: vec![0.1; Domain::COUNT],
    }
}

fn eval(step: u64, rng: &mut SmallRng) -> EvalRecord {
    let t = step as f64 / STEPS as f64;
    let loss = 2.2 + 5.0 * (-t * 14.0).exp() + 1.05 * (-t * 2.2).exp();
    let domains = Domain::ALL.map(|domain| {
        let loss = loss + 0.5 * ((domain.index() * 5) as f64).sin() * (0.2 + t);
        DomainRecord {
            domain: Some(domain),
            loss,
            bits_per_byte: loss * 0.42,
            tokens: 4_000 + 700 * domain.index() as u64,
        }
    });
    EvalRecord {
        step,
        loss,
        bits_per_byte: loss * 0.42,
        domains: domains.to_vec(),
        routing_tagged: Some(routing(0.45, rng)),
        routing_untagged: Some(routing(0.1 + 0.2 * t, rng)),
        max_vio: Some(0.3),
        null_share: None,
    }
}

fn records() -> Vec<Record> {
    let rng = &mut SmallRng::seed_from_u64(7);
    let mut records = vec![Record::Eval(eval(0, rng))];
    for number in 1..=STEPS {
        records.push(Record::Step(step(number, rng)));
        if number.is_multiple_of(50) {
            records.push(Record::Eval(eval(number, rng)));
        }
    }
    records.push(Record::Samples(SamplesRecord {
        step: STEPS,
        samples: samples(),
    }));
    records
}

fn samples() -> Vec<SampleRecord> {
    let text = "The court held that the <tenant> had to pay, and the tenant paid.";
    let numbered = (0..).zip(Domain::ALL);
    numbered
        .map(|(seed, domain)| SampleRecord {
            domain: Some(domain),
            seed,
            text: text.repeat(1 + seed as usize % 3),
        })
        .collect()
}

/// Asserts that opening and closing tags match.
pub(super) fn assert_well_formed(html: &str) {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open = Vec::new();
    for piece in html.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap();
        let name = tag
            .trim_start_matches('/')
            .split([' ', '\n', '/'])
            .next()
            .unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn the_report_of_a_whole_run_is_one_file_with_every_picture() {
    let html = render(&about(), &records());
    let figures = html.matches("<figure").count();
    assert_eq!(
        html.matches(r#"<p class="note">"#).count(),
        figures,
        "a picture without a word"
    );
    // to look at it: DARKHORSE_SAMPLE_REPORT=report.html cargo test the_report_of_a_whole_run
    if let Ok(path) = std::env::var("DARKHORSE_SAMPLE_REPORT") {
        std::fs::write(path, &html).unwrap();
    }
    assert_well_formed(&html);
    for text in [
        "<dt>Parameters</dt><dd>3.41\u{202f}M<small>1.11\u{202f}M active per token",
        "tiny: a mixture of 21 experts of which a token visits 3, 4 layers of width 128, trained for 600 steps on 1.23\u{202f}M tokens with flex on 2 CPU cores",
        "<dt>Energy per token</dt><dd>4.1",
        " mJ<small>CPU package-0 (RAPL counter)<",
        "<h3>Loss</h3>",
        "<h3>Load of every expert</h3>",
        "<h3>Load violation</h3>",
        "<h3>Speed</h3>",
        "<h3>Learning rate</h3>",
        "<h3>Without the document&#39;s tag</h3>",
        "<td>biomedical</td>",
        // labels: domain and number of an expert, layer
        ">general 9</text>",
        ">layer 2</text>",
        ">MTP 1</text>",
        "all bars begin at 0 and have one scale",
        "<dt>legal<small>seed 4</small></dt><dd>The court held that the &lt;tenant&gt;",
        "&quot;&lt;b&gt;&quot;",
    ] {
        let text = text.replace("&#39;", "'");
        assert!(html.contains(&text), "{text}");
    }
    for foreign in ["http", "<script", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.len() < 1 << 20, "{} bytes", html.len());
}

#[test]
fn energy_that_was_not_measured_has_no_figure() {
    let records = records().into_iter().map(|mut record| {
        if let Record::Step(step) = &mut record {
            step.energy_j = None;
        }
        record
    });
    let records: Vec<_> = records.collect();
    let html = render(&about(), &records);
    assert!(
        html.contains(r#"<dt>Energy per token</dt><dd><span class="none">not measured</span>"#)
    );
    assert!(!html.contains("RAPL counter"));
    let missing = About {
        energy_missing: Some("may not read `energy_uj`".into()),
        ..about()
    };
    assert!(render(&missing, &records).contains("<small>may not read `energy_uj`</small>"));
    assert!(!html.contains("<h3>Energy</h3>"));
}

#[test]
fn what_was_not_measured_has_neither_a_figure_nor_a_picture() {
    // as older versions wrote it where there was no validation text
    let unmeasured = |step| {
        Record::Eval(EvalRecord {
            step,
            ..Default::default()
        })
    };
    let mut records: Vec<_> = records()
        .into_iter()
        .filter_map(|record| match record {
            Record::Step(mut step) => {
                step.mtp_loss = None;
                step.energy_j = None;
                (step.max_vio_batch, step.max_vio_global) = (None, None);
                step.expert_loads.clear();
                Some(Record::Step(step))
            }
            _ => None,
        })
        .collect();
    let dense = About {
        routed_layers: Vec::new(),
        expert_domains: Vec::new(),
        ..about()
    };
    let without = render(&dense, &records);
    records.insert(0, unmeasured(0));
    records.push(unmeasured(STEPS));
    let html = render(&dense, &records);
    assert_eq!(html, without);
    assert_well_formed(&html);
    assert!(html.contains("<dt>Valid loss</dt><dd><span class=\"none\">not measured</span>"));
    for absent in [
        "<h2>Domains",
        "<h2>Experts",
        "<h2>Routing",
        "<h2>Samples",
        "<h2>Left out",
        "<h3>Load violation",
        "<h3>Multi-token",
        "<h3>Energy",
        "valid</li>",
        "held-out text.",
    ] {
        assert!(!html.contains(absent), "{absent}");
    }
    // no section is empty
    assert!(!html.contains("</p>\n</section>"));
}

#[test]
fn documents_that_were_left_out_are_counted_and_named() {
    let mut records = records();
    records.insert(
        0,
        Record::Skipped(SkippedRecord {
            count: 12_000,
            examples: vec!["`a.jsonl` line 3: the field `text` is empty".into()],
        }),
    );
    let html = render(&about(), &records);
    assert_well_formed(&html);
    assert!(
        html.contains("12.0\u{202f}k documents of the data could not be read and were left out")
    );
    assert!(html.contains("<li>`a.jsonl` line 3: the field `text` is empty</li>"));
}

#[test]
fn a_run_that_was_stopped_says_how_far_it_came_and_shows_what_it_writes() {
    let mut records = records();
    records.retain(|record| record.step() <= 300);
    records.push(Record::Samples(SamplesRecord {
        step: 300,
        samples: samples(),
    }));
    let html = render(&about(), &records);
    assert!(html.contains("trained for 300 of 600 steps"));
    assert!(html.contains("What the model writes after step 300"));
    let seeds: std::collections::HashSet<_> = html
        .split("<small>seed ")
        .skip(1)
        .map(|rest| &rest[..1])
        .collect();
    assert_eq!(seeds.len(), 10);
}

#[test]
fn a_report_of_little_or_nothing_is_a_page_all_the_same() {
    let rng = &mut SmallRng::seed_from_u64(7);
    let broken = StepRecord {
        loss: f64::NAN,
        grad_norm: f64::INFINITY,
        ..step(1, rng)
    };
    let dense = StepRecord {
        expert_loads: Vec::new(),
        ..step(1, rng)
    };
    for records in [
        vec![],
        vec![Record::Step(broken)],
        vec![Record::Step(dense)],
        vec![
            Record::Step(step(1, rng)),
            Record::Eval(EvalRecord::default()),
        ],
        vec![Record::Eval(eval(0, rng))],
    ] {
        let html = render(&About::default(), &records);
        assert_well_formed(&html);
        assert!(
            !html.contains("NaN") && !html.contains("inf\""),
            "{records:?}"
        );
    }
}
