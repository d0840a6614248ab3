//! Python's splitting, padding and capitalization of text.

use minijinja::Error;

use super::invalid;

/// Python's `str.isspace` of a character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

pub(super) fn split<'a>(
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
    Ok(if from_the_end {
        let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
        parts.reverse();
        parts
    } else {
        text.splitn(most, separator).collect()
    })
}

/// Splits at white space into at most `most` parts; the last part, or the first with `from_the_end`, keeps the rest.
fn words(text: &str, most: usize, from_the_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_the_end {
        text.trim_end_matches(is_space)
    } else {
        text.trim_start_matches(is_space)
    };
    while !rest.is_empty() {
        let cut = if parts.len() + 1 >= most {
            None
        } else if from_the_end {
            rest.char_indices()
                .rev()
                .find(|(_, c)| is_space(*c))
                .map(|(at, _)| at)
        } else {
            rest.find(is_space)
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

pub(super) fn lines(text: &str, kept: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let end = if rest[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        parts.push(&rest[..if kept { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

pub(super) fn padding(text: &str, width: usize, fill: char) -> Result<String, Error> {
    const MOST: usize = 1 << 16;
    if width > MOST {
        return Err(invalid(format!(
            "a width of {width}, expected at most {MOST}"
        )));
    }
    let count = width.saturating_sub(text.chars().count());
    Ok(std::iter::repeat_n(fill, count).collect())
}

pub(super) fn centered(text: &str, width: usize, fill: char) -> String {
    let width = width.min(1 << 16);
    let missing = width.saturating_sub(text.chars().count());
    // for an uneven rest, Python puts the extra character on the left if the width is odd
    let left = missing / 2 + (missing & width & 1);
    let fill = |count| std::iter::repeat_n(fill, count).collect::<String>();
    format!("{}{text}{}", fill(left), fill(missing - left))
}

pub(super) fn titled(text: &str) -> String {
    let (mut out, mut within) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        if within {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        within = c.is_alphabetic();
    }
    out
}
