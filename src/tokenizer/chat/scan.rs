//! Scans the tags of a Jinja template, to rewrite some of them before it is parsed.

use super::TemplateError;

/// Kind of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// An expression, `{{ … }}`.
    Expression,
    /// A statement, `{% … %}`.
    Statement,
}

/// Replaces the content of every tag by the result of `rewrite`. Comments and `raw` blocks stay unchanged.
pub(super) fn rewrite(
    source: &str,
    mut rewrite: impl FnMut(Tag, &str) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (tag, close) = match from.as_bytes().get(1) {
            Some(b'{') => (Tag::Expression, "}}"),
            Some(b'%') => (Tag::Statement, "%}"),
            Some(b'#') => {
                let end = from.find("#}").map_or(from.len(), |end| end + 2);
                out.push_str(&from[..end]);
                rest = &from[end..];
                continue;
            }
            _ => {
                out.push('{');
                rest = &from[1..];
                continue;
            }
        };
        let inside = &from[2..];
        // the parser reports a tag without an end
        let Some(end) = end_of_tag(inside, close) else {
            out.push_str(from);
            return Ok(out);
        };
        out.push_str(&from[..2]);
        out.push_str(&rewrite(tag, &inside[..end])?);
        out.push_str(close);
        rest = &inside[end + 2..];
        if tag == Tag::Statement && name(&inside[..end]) == "raw" {
            let end = end_of_raw(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The keyword of a statement.
pub(super) fn name(inside: &str) -> &str {
    let inside = inside.trim_matches(['-', '+']).trim();
    inside.split_whitespace().next().unwrap_or_default()
}

/// Offset of a tag's end; ends within strings do not count.
fn end_of_tag(inside: &str, close: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = end_of_string(bytes, at, quote)?,
            // the end of a map can look like the end of a tag
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            _ if bytes[at..].starts_with(close.as_bytes()) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Offset of the quote that closes the string opened at `at`.
fn end_of_string(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            byte if *byte == quote => return Some(at),
            _ => at += 1,
        }
    }
}

fn end_of_raw(rest: &str) -> usize {
    let mut from = 0;
    while let Some(at) = rest[from..].find("{%") {
        let at = from + at;
        if let Some(end) = rest[at..].find("%}")
            && name(&rest[at + 2..at + end]) == "endraw"
        {
            return at;
        }
        from = at + 2;
    }
    rest.len()
}

/// Replaces every string in a tag's content, quotes included, by the result of `rewrite`.
pub(super) fn rewrite_strings(
    inside: &str,
    mut rewrite: impl FnMut(&str) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let bytes = inside.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        if let quote @ (b'"' | b'\'') = bytes[at] {
            let Some(end) = end_of_string(bytes, at, quote) else {
                break;
            };
            out.push_str(&inside[copied..at]);
            out.push_str(&rewrite(&inside[at..=end])?);
            (copied, at) = (end + 1, end);
        }
        at += 1;
    }
    out.push_str(&inside[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_around_strings_maps_comments_and_raw_text() {
        let source =
            "a{{ '}}' }}{# {{ x }} #}{%- if {'a': {}} -%}{ {% raw -%}{{ y }}{% endraw %}{{z";
        let mut tags = Vec::new();
        let same = rewrite(source, |tag, inside| {
            tags.push((tag, inside.to_owned()));
            Ok(inside.to_owned())
        });
        assert_eq!(same.unwrap(), source);
        let insides: Vec<&str> = tags.iter().map(|(_, inside)| inside.as_str()).collect();
        assert_eq!(
            insides,
            [" '}}' ", "- if {'a': {}} -", " raw -", " endraw "]
        );
        assert_eq!(name("- if {'a': {}} -"), "if");
    }

    #[test]
    fn strings_are_found_with_their_quotes() {
        let shout = |text: &str| Ok(text.to_uppercase());
        let out = rewrite_strings(r#" a ~ "b'\"c" ~ 'd\\' ~ e 'open"#, shout).unwrap();
        assert_eq!(out, r#" a ~ "B'\"C" ~ 'D\\' ~ e 'open"#);
    }
}
