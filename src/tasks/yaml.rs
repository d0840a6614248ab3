//! YAML as PyYAML reads it: one document to a JSON value, with the scalars of YAML 1.1 (`yes` is true).
//!
//! Aliases and tags are refused. A tag such as `!function utils.process_docs` names Python code, which changes results.

use serde_json::{Map, Number, Value};
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::{Marker, TScalarStyle};

/// Largest nesting depth.
const DEPTH: usize = 32;

/// A problem in a YAML text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line, from 1.
    pub(super) line: usize,
    pub(super) reason: String,
}

/// A collection that is being read.
enum Open {
    Sequence(Vec<Value>),
    /// Entries, and the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

/// Parses a text of one document; an empty one is null.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut whole: Option<Value> = None;
    loop {
        let (event, mark) = parser.next_token().map_err(|error| Fault {
            line: error.marker().line(),
            reason: format!("this is no YAML: {}", error.info()),
        })?;
        let fault = |reason: String| Fault {
            line: mark.line(),
            reason,
        };
        let done = match event {
            Event::StreamEnd => return Ok(whole.unwrap_or(Value::Null)),
            Event::DocumentStart if whole.is_some() => {
                return Err(fault("a second document begins, expected one".into()));
            }
            Event::Alias(_) => return Err(fault("aliases (`*name`) are not supported".into())),
            Event::Scalar(text, style, _, tag) => {
                refuse_tag(tag.as_ref(), Some(&text), &open, mark)?;
                if let Some(Open::Mapping(_, key @ None)) = open.last_mut() {
                    *key = Some(text);
                    continue;
                }
                if style == TScalarStyle::Plain {
                    plain(&text).map_err(fault)?
                } else {
                    Value::String(text)
                }
            }
            Event::SequenceStart(_, tag) | Event::MappingStart(_, tag)
                if tag.is_some() || open.len() == DEPTH || expects_key(&open) =>
            {
                refuse_tag(tag.as_ref(), None, &open, mark)?;
                return Err(fault(if expects_key(&open) {
                    "a key is a collection, expected text".into()
                } else {
                    format!("collections are nested deeper than {DEPTH}")
                }));
            }
            Event::SequenceStart(..) => {
                open.push(Open::Sequence(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::Sequence(items)) => Value::Array(items),
                Some(Open::Mapping(entries, _)) => Value::Object(entries),
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::Sequence(items)) => items.push(done),
            Some(Open::Mapping(entries, key)) => {
                entries.insert(key.take().unwrap_or_default(), done);
            }
            None => whole = Some(done),
        }
    }
}

fn expects_key(open: &[Open]) -> bool {
    matches!(open.last(), Some(Open::Mapping(_, None)))
}

fn refuse_tag(
    tag: Option<&Tag>,
    value: Option<&str>,
    open: &[Open],
    mark: Marker,
) -> Result<(), Fault> {
    let Some(Tag { handle, suffix }) = tag else {
        return Ok(());
    };
    let key = open.iter().rev().find_map(|it| match it {
        Open::Mapping(_, Some(key)) => Some(key.as_str()),
        _ => None,
    });
    let key = key.unwrap_or("a value");
    let value = value.unwrap_or_default();
    let reason = if suffix == "function" {
        format!(
            "`{key}` is the Python function `{value}`, which is not run here: write it as a template"
        )
    } else {
        format!("`{key}` has the tag `{handle}{suffix}`, which is not supported: leave it out")
    };
    Err(Fault {
        line: mark.line(),
        reason,
    })
}

/// A plain scalar in YAML 1.1.
fn plain(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true.into(),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false.into(),
        _ => match number(text)? {
            Some(number) => Value::Number(number),
            None => Value::String(text.into()),
        },
    })
}

fn number(text: &str) -> Result<Option<Number>, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    let is_sexagesimal = |part: &str| {
        part.chars().all(|c| c.is_ascii_digit() || "_.".contains(c)) && !part.is_empty()
    };
    if digits.contains(':') && digits.split(':').all(is_sexagesimal) {
        return Err(format!(
            "`{text}` is a number of base 60 in YAML 1.1: put it in quotes"
        ));
    }
    let bare = digits.replace('_', "");
    let based = |prefix: &str, radix: u32| {
        let rest = bare.strip_prefix(prefix)?;
        i64::from_str_radix(rest, radix).ok()
    };
    let is_decimal = bare.bytes().all(|b| b.is_ascii_digit());
    let integer = if is_decimal && (bare == "0" || !bare.starts_with('0')) {
        bare.parse().ok()
    } else {
        let octal = is_decimal.then(|| based("0", 8)).flatten();
        octal.or(based("0x", 16)).or(based("0b", 2))
    };
    if let Some(integer) = integer {
        return Ok(Some((sign * integer).into()));
    }
    // YAML 1.1 wants a point, and a sign in the exponent
    let (mantissa, exponent) = bare
        .split_once(['e', 'E'])
        .map_or((bare.as_str(), None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
    let is_float = mantissa.contains('.')
        && mantissa.len() > 1
        && mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && exponent.is_none_or(|it| it.starts_with(['+', '-']));
    let float = is_float.then(|| bare.parse::<f64>().ok()).flatten();
    Ok(float.and_then(|float| Number::from_f64(sign as f64 * float)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_those_of_pyyaml() {
        let text = "a: yes\nb: 'yes'\nc: 0o7\nd: 010\ne: 1_000\nf: -2.50\ng: 1e3\nh: 1.0e+3\ni: ~\nj:\nk: [no, 'x', 3.0]\n\
                    l: \"q\\n\"\nm: |\n  two\n  lines\nn: {o: .5, p: 0x1F}\nq: 1.2.3\n";
        let expected = json!({
            "a": true, "b": "yes", "c": "0o7", "d": 8, "e": 1000, "f": -2.5, "g": "1e3", "h": 1000.0, "i": null,
            "j": null, "k": [false, "x", 3.0], "l": "q\n", "m": "two\nlines\n", "n": {"o": 0.5, "p": 31}, "q": "1.2.3"
        });
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(""), Ok(Value::Null));
    }

    #[test]
    fn what_is_not_read_is_named_with_its_line() {
        let deep = "[".repeat(40);
        for (text, line, reason) in [
            (
                "a: 1\nb: !function utils.f\n",
                2,
                "`b` is the Python function `utils.f`",
            ),
            ("a: !x 1", 1, "`a` has the tag `!x`"),
            ("a: &n [1]\nb: *n", 2, "aliases"),
            ("a: 12:30", 1, "base 60"),
            ("a: [1\nb: 2", 2, "this is no YAML"),
            ("a: 1\n---\nb: 2", 2, "second document"),
            ("[a]: 1", 1, "a key is a collection"),
            (deep.as_str(), 1, "nested deeper"),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}");
            assert!(fault.reason.contains(reason), "{}", fault.reason);
        }
    }
}
