//! Methods of Python's strings, lists and maps.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, State, Value};
use minijinja_contrib::pycompat;

use super::invalid;
use super::repr::repr;
use super::strings::{centered, is_space, lines, padding, split, titled};

/// Methods of Python's values that `minijinja` lacks or implements otherwise.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
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
            let swapped = text.chars().map(|c| {
                if c.is_uppercase() {
                    c.to_lowercase().to_string()
                } else {
                    c.to_uppercase().to_string()
                }
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
