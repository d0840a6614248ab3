//! Table of scores on questions with known answers, in `receipt.html`.

use super::format::escape;

/// A score with its standard error, where there is one.
pub type Measured = (f64, Option<f64>);

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreLine {
    /// Name of the task.
    pub task: String,
    /// Name of the metric.
    pub metric: String,
    /// Number of questions.
    pub questions: usize,
    /// What chance would score; absent if it is not known.
    pub chance: Option<f64>,
    /// Score of the dense model.
    pub before: Measured,
    /// Score of the model with experts.
    pub after: Measured,
    /// Score after recovery; absent if there was none.
    pub recovered: Option<Measured>,
    /// Distance of the dense model from chance, in standard errors; absent if it is not known.
    pub errors_above_chance: Option<f64>,
    /// Share of the dense model's score above chance that is left, with experts and after recovery; absent if it is
    /// not counted.
    pub kept: [Option<f64>; 2],
}

/// The table, with columns for a recovery if there was one; empty without lines.
pub(super) fn rows(lines: &[ScoreLine]) -> (String, String) {
    let has_recovered = lines.iter().any(|it| it.recovered.is_some());
    let titles = [
        ("task", true),
        ("metric", true),
        ("questions", true),
        ("chance", true),
        ("dense", true),
        ("with experts", true),
        ("recovered", has_recovered),
        ("dense above chance, standard errors", true),
        ("kept", true),
        ("kept after recovery", has_recovered),
    ];
    let shown = |cells: [String; 10]| {
        let cells = cells.into_iter().zip(titles);
        cells.filter_map(|(cell, (_, is_shown))| is_shown.then_some(cell))
    };
    let head = shown(titles.map(|(title, _)| format!(r#"<th scope="col">{title}</th>"#)));
    let row = |line: &ScoreLine| {
        let cells = [
            escape(&line.task),
            escape(&line.metric),
            line.questions.to_string(),
            told(line.chance, |it| format!("{it:.3}")),
            measured(line.before),
            measured(line.after),
            told(line.recovered, measured),
            told(line.errors_above_chance, |it| format!("{it:.1}")),
            told(line.kept[0], share),
            told(line.kept[1], share),
        ];
        let cells = shown(cells).map(|cell| format!("<td>{cell}</td>"));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    (head.collect(), lines.iter().map(row).collect())
}

fn told<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "–".into(), text)
}

fn measured((value, stderr): Measured) -> String {
    match stderr {
        Some(stderr) => format!("{value:.3} ± {stderr:.3}"),
        None => format!("{value:.3}"),
    }
}

fn share(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_has_columns_only_if_there_was_one() {
        let line = ScoreLine {
            task: "a<b".into(),
            metric: "acc".into(),
            questions: 200,
            chance: Some(0.25),
            before: (0.75, Some(0.05)),
            after: (0.5, None),
            recovered: None,
            errors_above_chance: Some(10.0),
            kept: [Some(0.5), None],
        };
        let (head, body) = rows(std::slice::from_ref(&line));
        assert!(!head.contains("recover"), "{head}");
        assert_eq!(
            body,
            "<tr><td>a&lt;b</td><td>acc</td><td>200</td><td>0.250</td><td>0.750 ± 0.050</td><td>0.500</td><td>10.0</td>\
             <td>50.0 %</td></tr>\n"
        );
        let recovered = ScoreLine {
            recovered: Some((0.7, Some(0.05))),
            kept: [None, None],
            ..line.clone()
        };
        let (head, body) = rows(&[line, recovered]);
        assert_eq!(head.matches("recover").count(), 2);
        assert!(
            body.contains("<td>0.500</td><td>–</td><td>10.0</td>"),
            "{body}"
        );
        assert!(
            body.contains("<td>0.700 ± 0.050</td><td>10.0</td><td>–</td><td>–</td>"),
            "{body}"
        );
    }
}
