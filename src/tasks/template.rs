//! Templates over the fields of a document, with lm-evaluation-harness' settings of Jinja: strict about undefined
//! names, with the filter `regex_replace`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::pattern::Pattern;
use super::records::Record;
use crate::tokenizer::chat::python;

/// Largest number of steps in a rendering.
const FUEL: u64 = 2_000_000;
/// Largest nesting depth of blocks and loops.
const DEPTH: usize = 100;
const NAME: &str = "template";

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    env: Environment<'static>,
}

impl Template {
    /// Parses a template.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        env.set_syntax(syntax.map_err(|error| one_line(&error))?);
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(DEPTH);
        env.set_debug(false);
        python::install(&mut env);
        env.add_filter("regex_replace", regex_replace);
        // Jinja normalizes line ends, `minijinja` does not
        let text = source.replace("\r\n", "\n").replace('\r', "\n");
        let text = python::rewritten(&text)
            .map_err(|_| "the template has a string literal that is not supported".to_owned())?;
        env.add_template_owned(NAME, text)
            .map_err(|error| one_line(&error))?;
        Ok(Self { env })
    }

    /// Renders the template with the fields of a document.
    pub(super) fn render(&self, document: &Record) -> Result<String, String> {
        let template = self.env.get_template(NAME);
        let rendered = template.and_then(|template| template.render(Serde(document)));
        rendered.map_err(|error| {
            let names = template_names(&self.env);
            let missing = names.into_iter().find(|name| !document.contains_key(name));
            let is_undefined = error.kind() == ErrorKind::UndefinedError
                || one_line(&error).contains("undefined has no method");
            match missing {
                Some(name) if is_undefined => {
                    let fields: Vec<&str> = document.keys().map(String::as_str).collect();
                    let fields = fields.join("`, `");
                    format!("the record has no field `{name}`, it has `{fields}`")
                }
                _ => one_line(&error),
            }
        })
    }
}

/// Names that a template takes from the document.
fn template_names(env: &Environment<'_>) -> Vec<String> {
    let Ok(template) = env.get_template(NAME) else {
        return Vec::new();
    };
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.retain(|name| !["range", "dict", "namespace"].contains(&name.as_str()));
    names.sort();
    names
}

/// Python's `re.sub`.
fn regex_replace(
    text: &str,
    pattern: &str,
    replacement: &str,
    count: Option<usize>,
) -> Result<String, Error> {
    let failed = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let pattern = Pattern::parse(pattern).map_err(failed)?;
    pattern
        .replace(text, replacement, count.unwrap_or(0))
        .map_err(failed)
}

fn one_line(error: &Error) -> String {
    let mut detail = String::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(inner) = error.downcast_ref::<Error>() {
            let own = inner.detail().map(str::to_owned);
            detail = own.unwrap_or_else(|| inner.kind().to_string());
        }
        cause = error.source();
    }
    format!(
        "the template fails: {}",
        detail.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let document = json!({
            "q": " How? ", "choices": {"text": ["a", "it's"], "label": ["A", "B"]}, "key": "B", "none": null,
            "number": 3, "yes": true, "ends": [" x [title] y", "[header] z"]
        });
        let document = document.as_object().unwrap();
        Template::parse(source).and_then(|template| template.render(document))
    }

    #[test]
    fn values_are_rendered_as_in_python() {
        for (source, expected) in [
            (
                "Question: {{q.strip()}}\nAnswer:",
                "Question: How?\nAnswer:",
            ),
            ("{{choices.text}}", "['a', \"it's\"]"),
            ("{{choices.label.index(key)}}", "1"),
            ("{{choices['text'][0]}}\n", "a\n"),
            ("{{none}} {{yes}} {{number / 2}}", "None True 1.5"),
            ("{% if yes %}\nx{% endif %}", "\nx"),
            ("{{'a  b' | regex_replace('\\\\s+', '-')}}", "a-b"),
            ("{{ {'A': 0, 'B': 1}[key] }}", "1"),
            ("{{ q[2:].strip() }}", "ow?"),
            ("{{ 'oNE two'.capitalize() }}", "One two"),
            (
                "{{ ends | map('trim') | map('replace', ' [title]', '. ') | map('regex_replace', '\\\\[.*?\\\\]', '') | list }}",
                "['x.  y', ' z']",
            ),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn a_missing_field_is_named_with_those_there_are() {
        for source in [
            "{{question}}",
            "{{question.strip()}}",
            "{% if question %}x{% endif %}",
        ] {
            let error = render(source).unwrap_err();
            assert!(
                error.starts_with("the record has no field `question`, it has `q`, `choices`"),
                "{source}: {error}"
            );
        }
        assert!(
            render("{{choices.textt}}")
                .unwrap_err()
                .contains("undefined")
        );
        assert!(render("{{ q.foo() }}").unwrap_err().contains("foo"));
        assert!(render("{% if %}").is_err());
        assert!(render("{{ 'x' * 100000000000 }}").is_err());
    }
}
