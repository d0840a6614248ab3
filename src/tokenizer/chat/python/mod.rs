//! Differences between Python's Jinja and `minijinja`: floats, JSON, white space, methods of strings.
//!
//! Features that neither has (the `%` of strings, unknown methods or filters) are errors that name them.
//! `tests/peers/templates.py` compares with Python.

mod json;
mod literals;
mod methods;
mod repr;
mod strings;

use minijinja::value::{Kwargs, Rest, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

use json::tojson;
pub(crate) use literals::rewritten;
use methods::method;
use repr::repr;
pub(crate) use strings::is_space;
use strings::{centered, lines, padding};

/// Adds Python's formatting, methods, filters and functions to an environment.
pub(crate) fn install(env: &mut Environment<'_>) {
    env.set_formatter(write);
    env.set_unknown_method_callback(method);
    env.add_filter("tojson", tojson);
    env.add_filter("trim", |text: &Value, chars: Option<&str>| match chars {
        Some(chars) => text
            .to_string()
            .trim_matches(|c| chars.contains(c))
            .to_owned(),
        None => text.to_string().trim_matches(is_space).to_owned(),
    });
    env.add_filter("string", |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    });
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("center", |text: &str, width: Option<usize>| {
        centered(text, width.unwrap_or(80), ' ')
    });
    env.add_filter("indent", indent);
    env.add_filter("wordcount", |text: &str| text.split_whitespace().count());
    env.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined
        )
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// Python's `str` of a JSON value.
pub(crate) fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => repr(&Value::from(Serde(other))),
    }
}

/// Jinja's `indent` filter, with Python's notion of lines.
fn indent(text: &str, rest: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let place = |at: usize, name: &str| -> Result<Value, Error> {
        let named: Option<Value> = kwargs.get(name)?;
        Ok(named
            .or_else(|| rest.get(at).cloned())
            .unwrap_or(Value::from(())))
    };
    let (width, first, blank) = (place(0, "width")?, place(1, "first")?, place(2, "blank")?);
    kwargs.assert_all_used()?;
    let by = match width.as_str() {
        Some(text) => text.to_owned(),
        None => padding("", width.as_usize().unwrap_or(4), ' ')?,
    };
    let mut out = if first.is_true() {
        by.clone()
    } else {
        String::new()
    };
    let text = format!("{text}\n");
    for (at, line) in lines(&text, false).into_iter().enumerate() {
        if at > 0 {
            out.push('\n');
            if !line.is_empty() || blank.is_true() {
                out.push_str(&by);
            }
        }
        out.push_str(line);
    }
    Ok(out)
}

fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => Ok(out.write_str(&repr(value))?),
        _ => escape_formatter(out, state, value),
    }
}

fn default(
    value: &Value,
    default: Option<&Value>,
    falsy: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let falsy = kwargs.get::<Option<bool>>("boolean")?.or(falsy) == Some(true);
    let named = kwargs.get::<Option<Value>>("default_value")?;
    kwargs.assert_all_used()?;
    if !value.is_undefined() && (value.is_true() || !falsy) {
        return Ok(value.clone());
    }
    Ok(named
        .or_else(|| default.cloned())
        .unwrap_or_else(|| "".into()))
}

fn invalid(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
