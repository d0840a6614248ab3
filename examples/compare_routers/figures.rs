//! Results of the runs: means with 95 % confidence intervals over the seeds, in Markdown.

use darkhorse_genesis::telemetry::{Interval, StepRecord};

use crate::Outcome;

/// Number of initial steps whose gradients are those of an untrained model.
const WARM: usize = 20;

/// The runs of an experiment, by seed.
pub(crate) type Row = (String, Vec<Outcome>);

/// A figure of a run; `None` if it was not measured.
type Figure = dyn Fn(&Outcome) -> Option<f64>;

/// A figure with its title.
pub(crate) struct Column {
    title: String,
    of: Box<Figure>,
}

impl Column {
    fn new(title: impl Into<String>, of: impl Fn(&Outcome) -> Option<f64> + 'static) -> Self {
        Self {
            title: title.into(),
            of: Box::new(of),
        }
    }

    /// MaxVio over the twenty steps up to `step`.
    fn violation(step: u64) -> Self {
        Self::new(format!("MaxVio at {step}"), move |run| {
            run.steps.iter().find(|it| it.step == step)?.max_vio_global
        })
    }

    fn loss() -> Self {
        Self::new("validation loss", |run| run.loss)
    }
}

pub(crate) fn of_families(steps: u64) -> Vec<Column> {
    vec![
        Column::loss(),
        // of late steps, when null experts have reached their share
        Column::new("tokens/s", |run| median(late(run), |it| it.tokens_per_s)),
        Column::new("J/token", |run| {
            let energy = run.steps.iter().map(|it| it.energy_j).sum::<Option<f64>>();
            energy.map(|joules| joules / run.steps.last().map_or(0.0, |it| it.tokens as f64))
        }),
        Column::new("experts a token", visited),
        Column::new("largest gradient / median", |run| {
            let steps = run.steps.get(WARM..)?;
            let median = median(steps, |it| it.grad_norm)?;
            let largest = steps.iter().map(|it| it.grad_norm).reduce(f64::max)?;
            Some(largest / median)
        }),
        Column::violation(100),
        Column::violation(steps),
    ]
}

pub(crate) fn of_balance(steps: u64) -> Vec<Column> {
    let mut columns: Vec<_> = [50, 100, steps].map(Column::violation).into();
    columns.push(Column::new("mean of the last third", |run| {
        let late = run.steps.iter().skip(run.steps.len() * 2 / 3);
        let found: Vec<f64> = late.filter_map(|it| it.max_vio_global).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }));
    columns.push(Column::loss());
    columns
}

/// The second half of a run.
fn late(run: &Outcome) -> &[StepRecord] {
    &run.steps[run.steps.len() / 2..]
}

/// Mean number of routed experts that a token visits in the second half of the run.
fn visited(run: &Outcome) -> Option<f64> {
    let per_step = run.steps.first()?.tokens;
    let visited = late(run).iter().map(|step| {
        let layers = step.expert_loads.len() as u64;
        let visits = step.expert_loads.iter().flatten().sum::<u64>();
        (layers > 0).then(|| visits as f64 / (layers * per_step) as f64)
    });
    let visited: Vec<f64> = visited.collect::<Option<_>>()?;
    Some(visited.iter().sum::<f64>() / visited.len() as f64)
}

/// Median of a value over steps.
fn median(steps: &[StepRecord], of: impl Fn(&StepRecord) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = steps.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// One row per experiment. The last column compares the losses with those of the first experiment, seed by seed.
pub(crate) fn table(columns: &[Column], rows: &[Row]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let first = rows.first().map_or("", |(name, _)| name);
    let mut text = format!(
        "| | {} | loss against {first}, % |\n|---|{}\n",
        titles.join(" | "),
        "---|".repeat(columns.len() + 1)
    );
    for (name, runs) in rows {
        let cells = columns.iter().map(|column| {
            let values: Option<Vec<f64>> = runs.iter().map(&column.of).collect();
            shown(values)
        });
        let against = runs.iter().zip(&rows[0].1).map(|(run, first)| {
            let (loss, first) = (run.loss?, first.loss?);
            Some(100.0 * (loss / first - 1.0))
        });
        let cells: Vec<String> = cells.chain([shown(against.collect())]).collect();
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

/// Text of a figure; a dash if any of the runs lacks it.
fn shown(values: Option<Vec<f64>>) -> String {
    let interval = values.and_then(|values| Interval::of(&values));
    interval.map_or("-".into(), |interval| interval.to_string())
}
