//! Values in the format of Python's `str` and `repr`.

use std::fmt::Write as _;

use minijinja::Value;
use minijinja::value::ValueKind;

/// Python's `repr` of a float: the shortest digits that round-trip, with an exponent for large and small values.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        let name = if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        return name.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..16 if exponent < 0 || value.fract() != 0.0 => format!("{value}"),
        -4..16 => format!("{value:.1}"),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

pub(super) fn as_float(value: &Value) -> Option<f64> {
    let is_float = value.is_number() && !value.is_integer() && value.kind() == ValueKind::Number;
    is_float
        .then(|| f64::try_from(value.clone()).ok())
        .flatten()
}

/// Python's `str` of a value, which uses `repr` within lists and maps.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    put_repr(&mut out, value);
    out
}

fn put_repr(out: &mut String, value: &Value) {
    if let Some(value) = as_float(value) {
        out.push_str(&float(value));
        return;
    }
    let items = || value.try_iter().ok();
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::String => put_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            out.push('{');
            for (at, key) in items().into_iter().flatten().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                put_repr(out, &key);
                out.push_str(": ");
                put_repr(out, &value.get_item(&key).unwrap_or_default());
            }
            out.push('}');
        }
        ValueKind::Seq => {
            let [open, close] = if value.is_tuple() {
                ["(", ")"]
            } else {
                ["[", "]"]
            };
            out.push_str(open);
            let mut count = 0;
            for item in items().into_iter().flatten() {
                out.push_str(if count > 0 { ", " } else { "" });
                put_repr(out, &item);
                count += 1;
            }
            out.push_str(if value.is_tuple() && count == 1 {
                ","
            } else {
                ""
            });
            out.push_str(close);
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

fn put_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = match c as u32 {
                    code @ ..0x100 => write!(out, "\\x{code:02x}"),
                    code @ ..0x1_0000 => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Whether Python's `repr` writes a character unescaped. Unassigned characters are not recognized.
fn is_printable(c: char) -> bool {
    let is_format = matches!(c as u32,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE000..=0xF8FF | 0xE_0001..=0xE_007F | 0xF_0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_format)
}
