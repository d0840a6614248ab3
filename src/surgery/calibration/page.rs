//! The receipt as a page with pictures.

use super::receipt::{Carving, Mode, Receipt};
use super::tasks::Score;
use crate::surgery::carve::{Analysis, Cloze, LayerRecord, Quality};
use crate::telemetry::report::{Change, Conversion, OverLayers, ScoreLine, render_conversion};

impl Receipt {
    /// `receipt.html` of the run called `title`; `json` is the receipt's text.
    pub fn html(&self, title: &str, json: &str) -> String {
        let carving = self.carving.as_ref();
        let layers = carving.map_or(&[][..], |carving| &carving.layers);
        render_conversion(&Conversion {
            title: title.into(),
            lead: self.lead(),
            sizes: self.sizes(),
            losses: carving.map(losses).unwrap_or_default(),
            scores: carving.map(scores).unwrap_or_default(),
            score_notes: carving.map(score_notes).unwrap_or_default(),
            errors: over_layers(layers, |quality| quality.error),
            recalls: over_layers(layers, |quality| quality.recall),
            phases: self
                .phases
                .iter()
                .map(|phase| (phase.name.clone(), phase.seconds, phase.joules))
                .collect(),
            energy_missing: self.energy_missing.clone(),
            receipt: json.into(),
        })
    }

    fn lead(&self) -> String {
        let how = match self.mode {
            Mode::Carve => "carved out of its feed-forwards",
            Mode::Upcycle => "that are copies of its feed-forwards",
            Mode::DropUpcycle => {
                "that are copies of its feed-forwards with some dimensions drawn anew"
            }
        };
        format!(
            "{} with {} experts per layer {how}: {} shared, and {} of the others for every token.",
            self.of, self.experts, self.shared_experts, self.top_k
        )
    }

    fn sizes(&self) -> Vec<Change> {
        let change = |name: &str, before: f64, after: f64| Change {
            name: name.into(),
            before,
            after,
            recovered: None,
        };
        let (before, after) = (self.before, self.after);
        let mut sizes = vec![
            change("parameters", before.total as f64, after.total as f64),
            change(
                "active parameters",
                before.active as f64,
                after.active as f64,
            ),
        ];
        if let (Some(before), Some(after)) = (self.speed_before, self.speed_after) {
            sizes.extend([
                change(
                    "prefill, tokens per second",
                    before.prefill_per_second,
                    after.prefill_per_second,
                ),
                change(
                    "decode, tokens per second",
                    before.decode_per_second,
                    after.decode_per_second,
                ),
            ]);
        }
        sizes
    }
}

/// Losses of all text and of every domain.
fn losses(carving: &Carving) -> Vec<Change> {
    let recovered = carving.recovered.as_ref();
    let all = Change {
        name: "all".into(),
        before: carving.dense.loss,
        after: carving.carved.loss,
        recovered: recovered.map(|it| it.loss),
    };
    let domains = carving.dense.domains.iter().zip(&carving.carved.domains);
    let domains = domains.enumerate().map(|(at, (before, after))| Change {
        name: before.name().into(),
        before: before.loss,
        after: after.loss,
        recovered: recovered.and_then(|it| Some(it.domains.get(at)?.loss)),
    });
    [all].into_iter().chain(domains).collect()
}

/// Last words of the held-out text, and the tasks.
fn scores(carving: &Carving) -> Vec<ScoreLine> {
    let measured = |cloze: Cloze| (cloze.accuracy, cloze.stderr);
    let cloze = carving.dense.cloze.zip(carving.carved.cloze);
    let cloze = cloze.map(|(dense, carved)| ScoreLine {
        task: "last words".into(),
        metric: "accuracy".into(),
        questions: dense.passages,
        before: measured(dense),
        after: measured(carved),
        recovered: carving
            .recovered
            .as_ref()
            .and_then(|it| it.cloze.map(measured)),
        ..ScoreLine::default()
    });
    let tasks = carving.tasks.iter().flat_map(|it| &it.tasks);
    let tasks = tasks.flat_map(|task| {
        task.metrics.iter().map(|metric| {
            let told = |score: Score| (score.value, score.stderr);
            let kept = metric.outcome.kept();
            ScoreLine {
                task: task.task.clone(),
                metric: metric.name(),
                questions: task.documents,
                chance: metric.chance,
                before: told(metric.dense),
                after: told(metric.carved),
                recovered: metric.recovered.map(told),
                errors_above_chance: metric.errors_above_chance,
                kept: [kept.map(|it| it.carved), kept.and_then(|it| it.recovered)],
            }
        })
    });
    cloze.into_iter().chain(tasks).collect()
}

/// What is left over all tasks, and which do not count.
fn score_notes(carving: &Carving) -> Vec<String> {
    let Some(tasks) = &carving.tasks else {
        return Vec::new();
    };
    let not_counted = tasks.not_counted().into_iter();
    let not_counted = not_counted.map(|line| format!("not counted: {line}"));
    [tasks.summary()].into_iter().chain(not_counted).collect()
}

/// A line for the layers as they were carved and, if they were measured, one for every other choice.
fn over_layers(layers: &[LayerRecord], value: fn(&Quality) -> f64) -> Vec<OverLayers> {
    type Other = (&'static str, fn(&Analysis) -> Quality);
    let others: [Other; 4] = [
        ("oracle", |it| it.oracle),
        ("representative neurons", |it| it.representative),
        ("random partition", |it| it.random_partition),
        ("random choice", |it| it.random),
    ];
    let own = OverLayers {
        name: "as carved".into(),
        points: layers
            .iter()
            .map(|it| (it.layer, value(&it.quality)))
            .collect(),
    };
    let others = others.into_iter().map(|(name, of)| OverLayers {
        name: name.into(),
        points: layers
            .iter()
            .filter_map(|it| Some((it.layer, value(&of(it.analysis.as_ref()?)))))
            .collect(),
    });
    let all = [own].into_iter().chain(others);
    all.filter(|line| !line.points.is_empty()).collect()
}
