//! Few-shot examples: which documents a prompt shows, and the prompt's text.

use serde_json::Value;

use super::config::Sampler;
use super::prompt::{as_index, choice_at, shown};
use super::random::Random;
use super::records::Record;

/// Seed of lm-evaluation-harness.
const SEED: u32 = 1234;

/// Draws the examples of one document after another.
#[derive(Debug)]
pub(super) struct Examples<'a> {
    pool: &'a [Record],
    sampler: Sampler,
    random: Random,
}

impl<'a> Examples<'a> {
    /// Begins at the first document.
    pub(super) fn new(pool: &'a [Record], sampler: Sampler) -> Self {
        Self {
            pool,
            sampler,
            random: Random::new(SEED),
        }
    }

    /// The examples of the next document. `but` is left out of them.
    pub(super) fn draw(
        &mut self,
        count: usize,
        but: Option<&Record>,
    ) -> Result<Vec<&'a Record>, String> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let pool = self.pool;
        let others = || {
            pool.iter()
                .filter(|&it| Some(it) != but)
                .collect::<Vec<_>>()
        };
        let too_few = |available: usize| {
            format!("{count} few-shot examples are asked for, of {available} documents")
        };
        match (self.sampler, but) {
            (Sampler::FirstN, _) => {
                let others = others();
                let first = others.get(..count).ok_or_else(|| too_few(others.len()));
                first.map(<[_]>::to_vec)
            }
            (Sampler::Default, None) => {
                let drawn = self.random.sample(pool.len(), count);
                let drawn = drawn.ok_or_else(|| too_few(pool.len()))?;
                Ok(drawn.into_iter().map(|at| &pool[at]).collect())
            }
            (Sampler::Default, Some(document)) => {
                let drawn = self.random.sample(pool.len(), count + 1);
                let drawn = drawn.ok_or_else(|| too_few(pool.len().saturating_sub(1)))?;
                let drawn = drawn.into_iter().map(|at| &pool[at]);
                let drawn: Vec<&Record> = drawn.filter(|&it| it != document).take(count).collect();
                if drawn.len() == count {
                    return Ok(drawn);
                }
                // the document stands in the pool several times
                let others = others();
                let again = self.random.sample(others.len(), count);
                let again = again.ok_or_else(|| too_few(others.len()))?;
                Ok(again.into_iter().map(|at| others[at]).collect())
            }
        }
    }
}

/// Text of one example: question, delimiter, answer, delimiter. An empty answer leaves both delimiters out.
pub(super) fn shot(
    question: &str,
    choices: Option<&[String]>,
    answer: &Value,
    [target_delimiter, fewshot_delimiter]: [&str; 2],
) -> Result<String, String> {
    let answer = match (choices, as_index(answer)) {
        (Some(choices), Some(at)) => choice_at(choices, at)?,
        _ => match answer {
            Value::Null => "",
            Value::String(text) => text,
            Value::Array(several) if several.first().is_some_and(Value::is_string) => {
                several[0].as_str().unwrap_or_default()
            }
            other => {
                let found = shown(other);
                return Err(format!(
                    "the answer of a few-shot example is {found}, expected text"
                ));
            }
        },
    };
    if answer.is_empty() {
        return Ok(question.to_owned());
    }
    Ok([question, target_delimiter, answer, fewshot_delimiter].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(count: usize) -> Vec<Record> {
        let record = |at: usize| json!({ "n": at }).as_object().unwrap().clone();
        (0..count).map(record).collect()
    }

    fn numbers(drawn: &[&Record]) -> Vec<u64> {
        drawn.iter().map(|it| it["n"].as_u64().unwrap()).collect()
    }

    /// The numbers are those of lm-evaluation-harness 0.4.13's `ContextSampler(pool).set_rnd(1234).sample(..)`.
    #[test]
    fn examples_are_those_of_lm_evaluation_harness() {
        let records = pool(30);
        let mut examples = Examples::new(&records, Sampler::Default);
        let mut drawn = |but: Option<usize>| {
            let drawn = examples.draw(3, but.map(|at| &records[at])).unwrap();
            numbers(&drawn)
        };
        let found = [drawn(None), drawn(Some(0)), drawn(Some(19)), drawn(None)];
        assert_eq!(found, DRAWN);
        // a pool of equal records but one
        let mut few = pool(1);
        few.extend(pool(2));
        few.extend(pool(1));
        let mut examples = Examples::new(&few, Sampler::Default);
        let found: Vec<_> = (0..6)
            .map(|_| numbers(&examples.draw(1, Some(&few[0])).unwrap()))
            .collect();
        assert_eq!(found, [[1]; 6]);
    }

    const DRAWN: [[u64; 3]; 4] = [[24, 14, 3], [2, 29, 25], [18, 1, 21], [2, 3, 24]];

    #[test]
    fn the_first_examples_leave_the_document_out() {
        let records = pool(4);
        let mut examples = Examples::new(&records, Sampler::FirstN);
        assert_eq!(
            numbers(&examples.draw(2, Some(&records[1])).unwrap()),
            [0, 2]
        );
        assert_eq!(numbers(&examples.draw(4, None).unwrap()), [0, 1, 2, 3]);
        let error = examples.draw(4, Some(&records[0])).unwrap_err();
        assert_eq!(error, "4 few-shot examples are asked for, of 3 documents");
        assert!(
            Examples::new(&records, Sampler::Default)
                .draw(4, Some(&records[0]))
                .is_err()
        );
    }

    #[test]
    fn an_example_is_question_and_answer() {
        let choices = ["no".to_owned(), "yes".into()];
        let text = |answer: Value, choices| shot("Q?", choices, &answer, [" ", "\n\n"]);
        assert_eq!(text(json!(1), Some(&choices[..])).unwrap(), "Q? yes\n\n");
        assert_eq!(text(json!(false), Some(&choices[..])).unwrap(), "Q? no\n\n");
        assert_eq!(text(json!("B"), Some(&choices[..])).unwrap(), "Q? B\n\n");
        assert_eq!(text(json!(["x", "y"]), None).unwrap(), "Q? x\n\n");
        assert_eq!(text(json!(""), None).unwrap(), "Q?");
        assert!(text(json!(1), None).is_err());
        assert!(text(json!(2), Some(&choices[..])).is_err());
    }
}
