//! What Python's Jinja does and `minijinja` does otherwise: floats, JSON, white space, strings' methods.
//!
//! What is neither here nor in `minijinja` (the `%` of strings, an unknown method or filter) is an error
//! that names it. Held to Python by `tests/peers/templates.py`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};
use minijinja_contrib::pycompat;

use super::TemplateError;
use super::scan;

/// The template with its strings written as `minijinja` reads them: it keeps a backslash at the end of a
/// line, which Python drops together with the line's end, and does not know all of Python's escapes.
pub(super) fn rewritten(source: &str) -> Result<String, TemplateError> {
    scan::rewrite(source, |_, inside| scan::rewrite_strings(inside, string))
}

fn string(literal: &str) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(literal.len());
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => {}
            Some('\r') => {
                chars.next_if_eq(&'\n');
            }
            Some('a') => out.push('\u{7}'),
            Some('v') => out.push('\u{b}'),
            Some('N') if chars.peek() == Some(&'{') => {
                return Err(TemplateError::NotRendered {
                    what: "`\\N{...}` in a string",
                });
            }
            Some('U') => {
                let digits: String = chars.by_ref().take(8).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                let c = code.filter(|_| digits.len() == 8).and_then(char::from_u32);
                out.push(c.ok_or(TemplateError::NotRendered {
                    what: "`\\U` without the eight digits of a character",
                })?);
            }
            Some(first @ '0'..='7') => {
                let mut code = first as u32 - '0' as u32;
                for _ in 0..2 {
                    if let Some(digit) = chars.next_if(|c| c.is_digit(8)) {
                        code = code * 8 + digit as u32 - '0' as u32;
                    }
                }
                out.extend(char::from_u32(code));
            }
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                if digits.starts_with(['d', 'D']) && digits.get(1..2) > Some("7") {
                    return Err(TemplateError::NotRendered {
                        what: "half a character, `\\ud...`, in a string",
                    });
                }
                out.push_str("\\u");
                out.push_str(&digits);
            }
            Some(known @ ('\\' | '\'' | '"' | 'n' | 'r' | 't' | 'b' | 'f' | 'x')) => {
                out.extend(['\\', known]);
            }
            // one that means nothing stays as it is
            Some(other) => out.extend(['\\', '\\', other]),
            None => out.push('\\'),
        }
    }
    Ok(out)
}

pub(super) fn install(env: &mut Environment<'_>) {
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

/// Jinja's filter, whose lines are Python's.
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

/// Python's `str.isspace` of a character.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `repr` of a float: the shortest digits that give it back, with an exponent where that is large.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return match value.is_nan() {
            true => "nan".into(),
            false if value > 0.0 => "inf".into(),
            false => "-inf".into(),
        };
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

fn as_float(value: &Value) -> Option<f64> {
    let is_float = value.is_number() && !value.is_integer() && value.kind() == ValueKind::Number;
    is_float
        .then(|| f64::try_from(value.clone()).ok())
        .flatten()
}

/// Python's `str` of a value; of what is within lists and maps its `repr`.
fn repr(value: &Value) -> String {
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

/// Whether Python's `repr` writes a character as it is. Unassigned ones are not known here.
fn is_printable(c: char) -> bool {
    let is_format = matches!(c as u32,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE000..=0xF8FF | 0xE_0001..=0xE_007F | 0xF_0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_format)
}

/// How JSON is written.
struct Json {
    ascii: bool,
    indent: Option<String>,
    separators: [String; 2],
    sorted: bool,
}

/// transformers' filter: `json.dumps` without escapes for HTML.
fn tojson(value: &Value, rest: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
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
    let separator = |at: usize| match separators.is_none() {
        true => Ok(defaults[at].to_owned()),
        false => separators.get_item_by_index(at).map(|it| it.to_string()),
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

fn invalid(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Methods of Python's values that `minijinja` does not have, or has otherwise.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = of_string(text, name, args)?
    {
        return Ok(result);
    }
    match (value.kind(), name) {
        (ValueKind::Seq, "index") => {
            let (wanted,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *wanted);
            found
                .map(Value::from)
                .ok_or_else(|| invalid(format!("{} is not in the list", repr(wanted))))
        }
        (ValueKind::Map | ValueKind::Seq, "copy") => {
            let () = from_args(args)?;
            Ok(value.clone())
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn of_string(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let chars = |set: Option<&str>| {
        let set: Option<Vec<char>> = set.map(|set| set.chars().collect());
        move |c: char| {
            set.as_ref()
                .map_or_else(|| is_space(c), |set| set.contains(&c))
        }
    };
    let list =
        |parts: Vec<&str>| Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>());
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            let strip = chars(set);
            Value::from(match name {
                "strip" => text.trim_matches(strip),
                "lstrip" => text.trim_start_matches(strip),
                _ => text.trim_end_matches(strip),
            })
        }
        "split" | "rsplit" => {
            let (rest, kwargs): (&[Value], Kwargs) = from_args(args)?;
            let named = |key: &str, at: usize| -> Result<Value, Error> {
                let named: Option<Value> = kwargs.get(key)?;
                Ok(named
                    .or_else(|| rest.get(at).cloned())
                    .unwrap_or(Value::from(())))
            };
            let (separator, most) = (named("sep", 0)?, named("maxsplit", 1)?);
            kwargs.assert_all_used()?;
            let most = most.as_i64().and_then(|most| usize::try_from(most).ok());
            list(split(text, separator.as_str(), most, name == "rsplit")?)
        }
        "splitlines" => {
            let (kept, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let kept = kwargs.get::<Option<bool>>("keepends")?.or(kept);
            list(lines(text, kept == Some(true)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (found, whole) = match name {
                "partition" => (text.split_once(separator), [text, "", ""]),
                _ => (text.rsplit_once(separator), ["", "", text]),
            };
            let parts = found.map_or(whole, |(a, b)| [a, separator, b]);
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let found = if name == "index" {
                text.find(wanted)
            } else {
                text.rfind(wanted)
            };
            let at = found.ok_or_else(|| invalid("substring not found".into()))?;
            Value::from(text[..at].chars().count())
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            let fill = fill.unwrap_or(' ');
            Value::from(match name {
                "center" => centered(text, width, fill),
                "ljust" => format!("{text}{}", padding(text, width, fill)?),
                _ => format!("{}{text}", padding(text, width, fill)?),
            })
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let digits = text.trim_start_matches(['+', '-']);
            let sign = &text[..text.len() - digits.len()];
            Value::from(format!("{sign}{}{digits}", padding(text, width, '0')?))
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swapped = text.chars().map(|c| match c.is_uppercase() {
                true => c.to_lowercase().to_string(),
                false => c.to_uppercase().to_string(),
            });
            Value::from(swapped.collect::<String>())
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(titled(text))
        }
        "isspace" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        "isdigit" | "isdecimal" | "isnumeric" if text.is_ascii() => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        }
        "isdigit" | "isdecimal" if text.chars().any(|c| !c.is_ascii() && c.is_numeric()) => {
            return Err(invalid(format!(
                "`{name}` of digits that are not ASCII is not supported"
            )));
        }
        "isdigit" | "isdecimal" => Value::from(false),
        _ => return Ok(None),
    }))
}

fn split<'a>(
    text: &'a str,
    separator: Option<&str>,
    most: Option<usize>,
    from_the_end: bool,
) -> Result<Vec<&'a str>, Error> {
    let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let Some(separator) = separator else {
        return Ok(words(text, most, from_the_end));
    };
    if separator.is_empty() {
        return Err(invalid("empty separator".into()));
    }
    Ok(match from_the_end {
        false => text.splitn(most, separator).collect(),
        true => {
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts
        }
    })
}

/// Words between white space, at most `most`: the last one, or the first, keeps the rest.
fn words(text: &str, most: usize, from_the_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = match from_the_end {
        false => text.trim_start_matches(is_space),
        true => text.trim_end_matches(is_space),
    };
    while !rest.is_empty() {
        let cut = match from_the_end {
            _ if parts.len() + 1 >= most => None,
            false => rest.find(is_space),
            true => rest
                .char_indices()
                .rev()
                .find(|(_, c)| is_space(*c))
                .map(|(at, _)| at),
        };
        let Some(cut) = cut else {
            parts.push(rest);
            break;
        };
        if from_the_end {
            let space = rest[cut..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[cut + space..]);
            rest = rest[..cut].trim_end_matches(is_space);
        } else {
            parts.push(&rest[..cut]);
            rest = rest[cut..].trim_start_matches(is_space);
        }
    }
    if from_the_end {
        parts.reverse();
    }
    parts
}

fn lines(text: &str, kept: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let end = match rest[at..].starts_with("\r\n") {
            true => at + 2,
            false => at + rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        parts.push(&rest[..if kept { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

fn padding(text: &str, width: usize, fill: char) -> Result<String, Error> {
    const MOST: usize = 1 << 16;
    if width > MOST {
        return Err(invalid(format!(
            "a width of {width}, expected at most {MOST}"
        )));
    }
    let count = width.saturating_sub(text.chars().count());
    Ok(std::iter::repeat_n(fill, count).collect())
}

fn centered(text: &str, width: usize, fill: char) -> String {
    let width = width.min(1 << 16);
    let missing = width.saturating_sub(text.chars().count());
    // where it does not come out even, Python favors the left of an odd width
    let left = missing / 2 + (missing & width & 1);
    let fill = |count| std::iter::repeat_n(fill, count).collect::<String>();
    format!("{}{text}{}", fill(left), fill(missing - left))
}

fn titled(text: &str) -> String {
    let (mut out, mut within) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        within = c.is_alphabetic();
    }
    out
}
