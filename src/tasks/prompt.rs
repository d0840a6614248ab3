//! Questions, answers and choices of a document, as lm-evaluation-harness reads `doc_to_text`, `doc_to_target` and
//! `doc_to_choice`.

use serde_json::Value;

use super::config::Field;
use super::literal::literal;
use super::records::Record;
use super::template::Template;

/// A source of text, compiled for records with known fields.
#[derive(Debug)]
enum Source {
    Integer(i64),
    Field(String),
    Template(Template),
    List(Vec<Value>),
}

impl Source {
    fn of(key: &str, field: &Field, fields: &[String]) -> Result<Self, String> {
        Ok(match field {
            Field::Integer(integer) => Self::Integer(*integer),
            Field::Text(name) if fields.contains(name) => Self::Field(name.clone()),
            Field::Text(source) => {
                let template = Template::parse(source);
                Self::Template(template.map_err(|reason| format!("`{key}`: {reason}"))?)
            }
            Field::List(items) => Self::List(items.clone()),
            Field::Mapping(entries) => Self::List(entries.values().cloned().collect()),
        })
    }
}

/// A question: a text, or the number of the choice that is right if the choices are contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    Text(String),
    Index(i64),
}

/// The sources of a task.
#[derive(Debug)]
pub(super) struct Sources {
    text: Source,
    target: Source,
    choice: Option<Source>,
    /// Whether rendered digits are numbers of choices.
    has_choices: bool,
}

impl Sources {
    /// Compiles sources for records with these fields.
    pub(super) fn of(
        [text, target]: [&Field; 2],
        choice: Option<&Field>,
        has_choices: bool,
        fields: &[String],
    ) -> Result<Self, String> {
        let text = match text {
            Field::List(_) | Field::Mapping(_) => {
                return Err(
                    "`doc_to_text` is a collection, expected a field, a template or a number"
                        .into(),
                );
            }
            text => Source::of("doc_to_text", text, fields)?,
        };
        if matches!(target, Field::Mapping(_)) {
            return Err(
                "`doc_to_target` is a mapping, expected a field, a template, a number or a list"
                    .into(),
            );
        }
        if matches!(choice, Some(Field::Integer(_))) {
            return Err(
                "`doc_to_choice` is a number, expected a field, a template, a list or a mapping"
                    .into(),
            );
        }
        Ok(Self {
            text,
            target: Source::of("doc_to_target", target, fields)?,
            choice: choice
                .map(|choice| Source::of("doc_to_choice", choice, fields))
                .transpose()?,
            has_choices,
        })
    }

    /// The question of a document.
    pub(super) fn query(&self, document: &Record) -> Result<Query, String> {
        let told = |reason| format!("`doc_to_text`: {reason}");
        match &self.text {
            Source::Integer(integer) => Ok(Query::Index(*integer)),
            Source::Field(name) => match document.get(name) {
                Some(Value::String(text)) => Ok(Query::Text(text.clone())),
                Some(value) if value.is_i64() => Ok(Query::Index(value.as_i64().unwrap_or(0))),
                value => Err(format!(
                    "`doc_to_text`: the field `{name}` is {}, expected text",
                    shown(value.unwrap_or(&Value::Null))
                )),
            },
            Source::Template(template) => {
                let text = template.render(document).map_err(told)?;
                Ok(match self.index(&text) {
                    Some(index) => Query::Index(index.map_err(told)?),
                    None => Query::Text(text),
                })
            }
            Source::List(_) => Err("`doc_to_text` is a list".into()),
        }
    }

    /// The answer of a document: a text, the number of a choice, or a list of these.
    pub(super) fn target(&self, document: &Record) -> Result<Value, String> {
        let told = |reason| format!("`doc_to_target`: {reason}");
        Ok(match &self.target {
            Source::Integer(integer) => (*integer).into(),
            Source::Field(name) => document.get(name).cloned().unwrap_or_default(),
            Source::List(items) => Value::Array(items.clone()),
            Source::Template(template) => {
                let text = template.render(document).map_err(told)?;
                let index = self.index(&text).transpose().map_err(told)?;
                let is_list = text.len() >= 2 && text.starts_with('[') && text.ends_with(']');
                let list = is_list.then(|| literal(&text)).flatten();
                index
                    .map(Value::from)
                    .or(list)
                    .unwrap_or_else(|| text.into())
            }
        })
    }

    /// The choices of a document; `None` if the task has none.
    pub(super) fn choices(&self, document: &Record) -> Result<Option<Vec<String>>, String> {
        let found = match &self.choice {
            None => return Ok(None),
            Some(Source::Integer(_)) => Value::Null,
            Some(Source::Field(name)) => document.get(name).cloned().unwrap_or_default(),
            Some(Source::List(items)) => Value::Array(items.clone()),
            Some(Source::Template(template)) => {
                let text = template.render(document);
                let text = text.map_err(|reason| format!("`doc_to_choice`: {reason}"))?;
                let value = literal(&text);
                value.ok_or_else(|| {
                    let text = shown(&text.into());
                    format!("`doc_to_choice` renders {text}, expected a list of texts")
                })?
            }
        };
        let fault = |found: &Value| {
            format!(
                "`doc_to_choice` is {}, expected a list of texts",
                shown(found)
            )
        };
        let Value::Array(items) = &found else {
            return Err(fault(&found));
        };
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        let texts: Option<Vec<String>> = texts.collect();
        match texts {
            Some(texts) if !texts.is_empty() => Ok(Some(texts)),
            _ => Err(fault(&found)),
        }
    }

    /// The number that a rendered text is, if digits are numbers of choices.
    fn index(&self, text: &str) -> Option<Result<i64, String>> {
        let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (is_digits && self.has_choices).then(|| {
            let number = literal(text).and_then(|it| it.as_i64());
            number.ok_or_else(|| format!("`{text}` is no number of a choice"))
        })
    }
}

/// The choice that an answer names by its number, from the end if it is negative.
pub(super) fn choice_at(choices: &[String], at: i64) -> Result<&str, String> {
    let place = if at < 0 {
        at + choices.len() as i64
    } else {
        at
    };
    let found = usize::try_from(place).ok().and_then(|at| choices.get(at));
    found.map(String::as_str).ok_or_else(|| {
        let last = choices.len() as i64 - 1;
        format!("the answer is choice {at}, expected 0 to {last}")
    })
}

/// The number of a choice, where Python takes booleans for numbers.
pub(super) fn as_index(value: &Value) -> Option<i64> {
    value.as_bool().map(i64::from).or_else(|| value.as_i64())
}

/// A value for a message, cut short.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources(text: Value, target: Value, choice: Value) -> Result<Sources, String> {
        let field = |value: Value| serde_json::from_value::<Field>(value).unwrap();
        let choice = (!choice.is_null()).then(|| field(choice));
        let has_choices = choice.is_some();
        let fields = ["q", "c", "n", "none"].map(String::from);
        Sources::of(
            [&field(text), &field(target)],
            choice.as_ref(),
            has_choices,
            &fields,
        )
    }

    fn record() -> Record {
        let record = json!({"q": "Why?", "c": ["a", "b"], "n": 1, "none": null});
        record.as_object().unwrap().clone()
    }

    #[test]
    fn fields_templates_numbers_and_lists_are_told_apart() {
        let all = sources(json!("q"), json!("n"), json!("c")).unwrap();
        assert_eq!(all.query(&record()), Ok(Query::Text("Why?".into())));
        assert_eq!(all.target(&record()), Ok(json!(1)));
        assert_eq!(
            all.choices(&record()),
            Ok(Some(vec!["a".into(), "b".into()]))
        );

        let all = sources(json!("{{n}}"), json!("{{c}}"), json!("{{c + ['x']}}")).unwrap();
        assert_eq!(all.query(&record()), Ok(Query::Index(1)));
        assert_eq!(all.target(&record()), Ok(json!(["a", "b"])));
        assert!(
            all.choices(&record()).is_err() || all.choices(&record()).unwrap().unwrap().len() == 3
        );

        // digits are text without choices
        let all = sources(json!("{{n}}"), json!("{{n}}"), json!(null)).unwrap();
        assert_eq!(all.query(&record()), Ok(Query::Text("1".into())));
        assert_eq!(all.target(&record()), Ok(json!("1")));
        assert_eq!(all.choices(&record()), Ok(None));
        let all = sources(json!("q"), json!(["x"]), json!({"A": "no", "B": "yes"})).unwrap();
        assert_eq!(all.target(&record()), Ok(json!(["x"])));
        assert_eq!(
            all.choices(&record()),
            Ok(Some(vec!["no".into(), "yes".into()]))
        );
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        let error = |text: Value, choice: Value| {
            let all = sources(text, json!(0), choice)?;
            all.query(&record())?;
            all.choices(&record()).map(drop)
        };
        for (text, choice, part) in [
            (
                json!("none"),
                json!("c"),
                "the field `none` is null, expected text",
            ),
            (json!(["q"]), json!("c"), "`doc_to_text` is a collection"),
            (
                json!("{{x}}"),
                json!("c"),
                "`doc_to_text`: the record has no field `x`",
            ),
            (
                json!("q"),
                json!("q"),
                "`doc_to_choice` is \"Why?\", expected a list of texts",
            ),
            (
                json!("q"),
                json!("{{q}}"),
                "`doc_to_choice` renders \"Why?\"",
            ),
            (
                json!("q"),
                json!([1, 2]),
                "`doc_to_choice` is [1,2], expected a list of texts",
            ),
            (
                json!("q"),
                json!([]),
                "`doc_to_choice` is [], expected a list of texts",
            ),
            (json!("q"), json!(3), "`doc_to_choice` is a number"),
        ] {
            let error = error(text, choice).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let choices = ["a".to_owned(), "b".into()];
        assert_eq!(choice_at(&choices, -1), Ok("b"));
        assert_eq!(
            choice_at(&choices, 2).unwrap_err(),
            "the answer is choice 2, expected 0 to 1"
        );
    }
}
