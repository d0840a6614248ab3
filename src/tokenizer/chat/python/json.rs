//! The `tojson` filter, with the output of `json.dumps`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::invalid;
use super::repr::{as_float, float};

/// Format of the output.
struct Json {
    ascii: bool,
    indent: Option<String>,
    separators: [String; 2],
    sorted: bool,
}

/// transformers' `tojson`: `json.dumps` without escapes for HTML.
pub(super) fn tojson(value: &Value, rest: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let place = |at: usize, name: &str| -> Result<Value, Error> {
        let named: Option<Value> = kwargs.get(name)?;
        Ok(named
            .or_else(|| rest.get(at).cloned())
            .unwrap_or(Value::from(())))
    };
    let [ascii, indent, separators, sorted] = [
        place(0, "ensure_ascii")?,
        place(1, "indent")?,
        place(2, "separators")?,
        place(3, "sort_keys")?,
    ];
    kwargs.assert_all_used()?;
    let indent = match (indent.as_str(), indent.as_i64()) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(width)) => Some(" ".repeat(usize::try_from(width).unwrap_or(0).min(64))),
        (None, None) => None,
    };
    let defaults = [if indent.is_some() { "," } else { ", " }, ": "];
    let separator = |at: usize| {
        if separators.is_none() {
            Ok(defaults[at].to_owned())
        } else {
            separators.get_item_by_index(at).map(|it| it.to_string())
        }
    };
    let json = Json {
        ascii: ascii.is_true(),
        indent,
        separators: [separator(0)?, separator(1)?],
        sorted: sorted.is_true(),
    };
    let mut out = String::new();
    json.put(&mut out, value, 0)?;
    Ok(Value::from_safe_string(out))
}

impl Json {
    fn put(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(value) = as_float(value) {
            let text = float(value);
            out.push_str(match text.as_str() {
                "nan" => "NaN",
                "inf" => "Infinity",
                "-inf" => "-Infinity",
                text => text,
            });
            return Ok(());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let _ = write!(out, "{value}");
            }
            ValueKind::String => self.put_string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.put_all(out, ['[', ']'], items, depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    items.push((Some(key_text(&key)?), value.get_item(&key)?));
                }
                if self.sorted {
                    items.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.put_all(out, ['{', '}'], items, depth)?;
            }
            kind => return Err(invalid(format!("{kind} cannot be written as JSON"))),
        }
        Ok(())
    }

    fn put_all(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        items: Vec<(Option<String>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        out.push(open);
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        let is_empty = items.is_empty();
        for (at, (key, item)) in items.into_iter().enumerate() {
            out.push_str(if at > 0 { &self.separators[0] } else { "" });
            line(out, depth + 1);
            if let Some(key) = key {
                self.put_string(out, &key);
                out.push_str(&self.separators[1]);
            }
            self.put(out, &item, depth + 1)?;
        }
        if !is_empty {
            line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn put_string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match (key.as_str(), key.kind(), as_float(key)) {
        (Some(text), ..) => text.to_owned(),
        (_, _, Some(value)) => float(value),
        (_, ValueKind::None, _) => "null".into(),
        (_, ValueKind::Bool, _) => key.is_true().to_string(),
        (_, ValueKind::Number, _) => key.to_string(),
        (_, kind, _) => return Err(invalid(format!("{kind} cannot be a key of JSON"))),
    })
}
