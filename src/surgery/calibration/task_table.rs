//! Scores on tasks as text.

use std::fmt;

use super::tasks::{ERRORS, Outcome, Score, TaskScores};

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.value)?;
        match self.stderr {
            Some(stderr) => write!(f, " ±{stderr:.3}"),
            None => Ok(()),
        }
    }
}

impl TaskScores {
    /// One line: what is left over the tasks that count.
    pub fn summary(&self) -> String {
        let of = format!("{} of {} tasks", self.counted, self.tasks.len());
        let Some(kept) = self.kept else {
            return format!(
                "of {of} the dense model stands more than {ERRORS:.0} standard errors above chance: what is left is not told"
            );
        };
        let recovered = kept.recovered.map_or_else(String::new, |share| {
            format!(", {:.1} % after recovery", 100.0 * share)
        });
        format!(
            "left of the dense model's score above chance: {:.1} % as carved{recovered}; mean over {of}",
            100.0 * kept.carved
        )
    }

    /// A line per metric that does not count, with the reason.
    pub fn not_counted(&self) -> Vec<String> {
        let metrics = self
            .tasks
            .iter()
            .flat_map(|task| task.metrics.iter().map(move |metric| (task, metric)));
        let lines = metrics.filter_map(|(task, metric)| match &metric.outcome {
            Outcome::Kept(_) => None,
            Outcome::NotCounted(why) => Some(format!("{}, {}: {why}", task.task, metric.name())),
        });
        lines.collect()
    }
}

impl fmt::Display for TaskScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TITLES: [&str; 9] = [
            "task",
            "n",
            "metric",
            "chance",
            "dense",
            "carved",
            "recovered",
            "kept",
            "after recovery",
        ];
        let has_recovered = self
            .tasks
            .iter()
            .flat_map(|it| &it.metrics)
            .any(|it| it.recovered.is_some());
        let absent = || "-".to_owned();
        let share =
            |kept: Option<f64>| kept.map_or_else(absent, |it| format!("{:.1} %", 100.0 * it));
        let mut rows = vec![TITLES.map(String::from)];
        for task in &self.tasks {
            for (at, it) in task.metrics.iter().enumerate() {
                let once = |text: String| if at == 0 { text } else { String::new() };
                let kept = it.outcome.kept();
                rows.push([
                    once(task.task.clone()),
                    once(task.documents.to_string()),
                    it.name(),
                    it.chance.map_or_else(absent, |it| format!("{it:.3}")),
                    it.dense.to_string(),
                    it.carved.to_string(),
                    it.recovered.map_or_else(absent, |it| it.to_string()),
                    share(kept.map(|it| it.carved)),
                    share(kept.and_then(|it| it.recovered)),
                ]);
            }
        }
        let columns = (0..TITLES.len()).filter(|at| has_recovered || ![6, 8].contains(at));
        let columns: Vec<(usize, usize)> = columns
            .map(|at| {
                (
                    at,
                    rows.iter()
                        .map(|row| row[at].chars().count())
                        .max()
                        .unwrap_or(0),
                )
            })
            .collect();
        for row in &rows {
            let cells = columns.iter().map(|&(at, width)| match at {
                0 | 2 => format!("{:<width$}", row[at]),
                _ => format!("{:>width$}", row[at]),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for line in self.not_counted() {
            writeln!(f, "not counted: {line}")?;
        }
        writeln!(f, "{}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tasks::tests::scores;
    use super::*;

    #[test]
    fn the_table_has_a_line_per_metric() {
        let [dense, carved, recovered] = scores();
        let found = TaskScores::of(&dense, &carved, Some(&recovered)).to_string();
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "task    n  metric      chance         dense        carved     recovered    kept  after recovery",
                "a     200  acc          0.250  0.750 ±0.050  0.500 ±0.050  0.750 ±0.050  50.0 %         100.0 %",
                "           acc_norm     0.250  0.650 ±0.050  0.350 ±0.050  0.550 ±0.050  25.0 %          75.0 %",
            ]
        );
        assert_eq!(lines.len(), 1 + 5 + 3 + 1);
    }
}
