//! Rendering of Jinja templates as in transformers.
//!
//! The settings are those of `transformers.utils.chat_template_utils`. Templates are untrusted: fuel bounds work and
//! memory, a limit bounds nesting, and nothing outside the context can be reached.

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, ValueKind, ValueOrKwargs, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use super::{Clock, TemplateError, generation, python};

/// Largest number of steps in a rendering; each byte of output costs 1/64 of a step.
const FUEL: u64 = 8_000_000;
/// Largest nesting depth of macros, blocks and loops.
const DEPTH: usize = 160;
const NAME: &str = "chat_template";
/// Name of the function with which a template asks for the time.
pub(super) const STRFTIME_NOW: &str = "strftime_now";

/// A parsed template.
#[derive(Debug)]
pub(super) struct Jinja {
    env: Environment<'static>,
    source: String,
    marks_generations: bool,
}

/// A rendered text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    /// Byte ranges that the template marks by `{% generation %}`.
    pub(super) generations: Vec<Range<usize>>,
}

/// Message of a template's `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl Jinja {
    /// Parses a template; `clock` tells it the time.
    pub(super) fn parse(source: &str, clock: Clock) -> Result<Self, TemplateError> {
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        env.set_syntax(syntax.map_err(|error| failure(&error))?);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(DEPTH);
        env.set_debug(false);
        python::install(&mut env);
        generation::install(&mut env);
        env.add_function(
            "raise_exception",
            |message: &Value| -> Result<Value, Error> {
                let raised = Raised(message.to_string());
                Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
            },
        );
        env.add_function(STRFTIME_NOW, move |format: &str| {
            clock.format(format).ok_or_else(|| {
                let reason = format!("`{STRFTIME_NOW}` does not know the format `{format}`");
                Error::new(ErrorKind::InvalidOperation, reason)
            })
        });
        env.add_function("namespace", namespace);
        env.add_function("dict", dict);
        // Jinja normalizes line ends, `minijinja` does not
        let text = source.replace("\r\n", "\n").replace('\r', "\n");
        let (rewritten, marks_generations) = generation::rewritten(&python::rewritten(&text)?)?;
        env.add_template_owned(NAME, rewritten)
            .map_err(|error| failure(&error))?;
        Ok(Self {
            env,
            source: source.to_owned(),
            marks_generations,
        })
    }

    /// Source of the template.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks the assistant's words.
    pub(super) fn marks_generations(&self) -> bool {
        self.marks_generations
    }

    /// Renders the template with the variables in `context`.
    pub(super) fn render(&self, context: &serde_json::Value) -> Result<Rendered, TemplateError> {
        let template = self.env.get_template(NAME);
        let rendered = template.and_then(|template| template.render(Serde(context)));
        let rendered = rendered.map_err(|error| failure(&error))?;
        let (text, generations) = generation::unmarked(&rendered);
        Ok(Rendered { text, generations })
    }
}

/// Jinja's `namespace`. As in transformers, attributes must not begin with an underscore.
fn namespace(given: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    if let Some(name) = kwargs.args().find(|name| name.starts_with('_')) {
        let reason = format!(
            "a namespace cannot have the attribute `{name}`, which begins with an underscore"
        );
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    let attributes = dict(given, kwargs)?;
    let (attributes,): (ValueOrKwargs,) = from_args(std::slice::from_ref(&attributes))?;
    minijinja::functions::namespace(Some(attributes))
}

/// Python's `dict`, from a map or pairs, and keyword arguments.
fn dict(given: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for source in given.iter() {
        for item in source.try_iter()? {
            pairs.push(match source.kind() {
                ValueKind::Map => (item.clone(), source.get_item(&item)?),
                _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
            });
        }
    }
    for name in kwargs.args() {
        pairs.push((Value::from(name), kwargs.get(name)?));
    }
    Ok(Value::from_pairs(pairs))
}

/// Converts an error of `minijinja` to one line.
fn failure(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let (mut line, mut reason, mut kind) = (error.line(), String::new(), error.kind());
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref() {
            return TemplateError::Raised {
                message: one_line(message),
            };
        }
        if let Some(inner) = error.downcast_ref::<Error>() {
            line = inner.line().or(line);
            kind = inner.kind();
            let detail = inner.detail().map(str::to_owned);
            reason = detail.unwrap_or_else(|| inner.kind().to_string());
        }
        cause = error.source();
    }
    if kind == ErrorKind::OutOfFuel {
        return TemplateError::TooMuch { steps: FUEL };
    }
    TemplateError::Failed {
        line: line.unwrap_or(1),
        reason: one_line(&reason),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::tokenizer::chat::Conversation;
    use crate::tokenizer::chat::template::objects;

    fn render(source: &str, context: Json) -> Result<String, String> {
        let rendered = Jinja::parse(source, Clock::Now).and_then(|jinja| jinja.render(&context));
        rendered
            .map(|it| it.text)
            .map_err(|error| error.to_string())
    }

    /// `tests/peers/templates.py --write` generated the expected texts with transformers.
    #[test]
    fn templates_of_all_styles_are_rendered_as_transformers_does() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates");
        let read = |name: String| std::fs::read_to_string(folder.join(name)).unwrap();
        let cases: Vec<Json> = serde_json::from_str(&read("expected.json".into())).unwrap();
        let mut styles: Vec<&str> = Vec::new();
        for case in &cases {
            let style = case["template"].as_str().unwrap();
            if styles.last() != Some(&style) {
                styles.push(style);
            }
            let conversation = Conversation::parse(&case["messages"], case.get("tools")).unwrap();
            let context = json!({
                "messages": objects(&conversation.messages), "tools": case["tools"], "documents": null,
                "add_generation_prompt": case["prompt"], "date_string": "26 Jul 2024",
                "bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|pad|>",
            });
            let jinja = Jinja::parse(&read(format!("{style}.jinja")), Clock::Now).unwrap();
            let label = format!("{style}, {}", case["name"]);
            match (jinja.render(&context), case["text"].as_str()) {
                (Ok(found), Some(text)) => {
                    assert_eq!(found.text, text, "{label}");
                    let in_chars = |at: usize| text[..at].chars().count();
                    let marks = found.generations.iter();
                    let marks: Vec<_> = marks
                        .map(|mark| [in_chars(mark.start), in_chars(mark.end)])
                        .collect();
                    assert_eq!(json!(marks), case["marks"], "{label}");
                }
                (Err(_), None) => {}
                (found, expected) => panic!("{label}: {found:?}, expected {expected:?}"),
            }
        }
        assert!(styles.len() >= 12, "{styles:?}");
    }

    #[test]
    fn a_template_that_loops_or_grows_for_ever_is_refused() {
        let loops = "{% macro f() %}{% for i in range(10000) %}{% for j in range(10000) %}{{ f }}{% endfor %}{% endfor %}{% endmacro %}{{ f() }}";
        let grows = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
        for source in [
            loops,
            grows,
            "{{ 'x' * 10000000000 }}",
            "{{ range(100000) | map('string') | join('x' * 100000) }}",
        ] {
            let error = render(source, json!({})).unwrap_err();
            assert!(
                error.contains("steps") || error.contains("range"),
                "{error}"
            );
            assert!(!error.contains('\n'));
        }
        let calls_itself = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
        assert!(render(calls_itself, json!({})).is_err());
        let nested = format!(
            "{}1{}",
            "{{ ".to_owned() + &"(".repeat(20_000),
            ")".repeat(20_000) + " }}"
        );
        assert!(render(&nested, json!({})).is_err());
    }

    #[test]
    fn what_a_template_cannot_do_is_named() {
        for (source, part) in [
            (
                "{{ raise_exception('no system\\nturns') }}",
                "refuses this conversation: no system turns",
            ),
            ("\n{{ '%s' % 1 }}", "line 2: tried to use % operator"),
            ("{{ 'a'.encode() }}", "no method named encode"),
            ("{{ 1 | urlize }}", "urlize is unknown"),
            ("{{ missing.key }}", "fails in line 1: "),
            ("{{ '\\N{BULLET}' }}", "`\\N{...}` in a string"),
            ("{% if %}", "fails in line 1: "),
            (
                "{{ missing | tojson }}",
                "undefined cannot be written as JSON",
            ),
            ("{% set ns = namespace(_a=1) %}", "`_a`"),
            ("{% include 'other' %}", "line 1"),
        ] {
            let error = render(source, json!({})).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn what_python_writes_otherwise_is_supplied() {
        for (source, expected) in [
            ("{{ 'a\\\nb' }}", "ab"),
            (
                "{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b'.rsplit() }}",
                "['a,b', 'c'] ['a', 'b']",
            ),
            ("{{ 'abc'.removeprefix('a').removesuffix('c') }}", "b"),
            (
                "{{ 1e20 }} {{ [1e-7] }} {{ 0.1 }} {{ none }}",
                "1e+20 [1e-07] 0.1 None",
            ),
            (
                "{{ {'a': '<é>', 'b': 1.0} | tojson }}",
                "{\"a\": \"<é>\", \"b\": 1.0}",
            ),
            ("{{ '\\x1ca\\x1f'.strip() }}{{ ' a' | trim }}", "aa"),
            (
                "{{ [1][::-1] }} {{ -7 // 2 }} {{ 'ab' * 2 }}",
                "[1] -4 abab",
            ),
            ("{{ {} is sequence }} {{ 'a' is sequence }}", "True True"),
        ] {
            assert_eq!(render(source, json!({})).unwrap(), expected, "{source}");
        }
    }
}
