//! Regular expressions as Python's `re` reads them.

use fancy_regex::Regex;

/// Largest number of steps of a search.
const STEPS: usize = 1_000_000;

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression of Python.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut builder = fancy_regex::RegexBuilder::new(&translated(source));
        builder.backtrack_limit(STEPS);
        builder.build().map(Self).map_err(|error| {
            let reason = error
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            format!("`{source}` is no regular expression: {reason}")
        })
    }

    /// Python's `re.sub`; a count of 0 replaces all matches.
    pub(super) fn replace(
        &self,
        text: &str,
        replacement: &str,
        count: usize,
    ) -> Result<String, String> {
        let mut out = String::new();
        let mut end = 0;
        for (number, found) in self.0.captures_iter(text).enumerate() {
            if count > 0 && number == count {
                break;
            }
            let found = found.map_err(too_much)?;
            let Some(whole) = found.get(0) else { continue };
            out.push_str(&text[end..whole.start()]);
            expand(replacement, &found, &mut out);
            end = whole.end();
        }
        out.push_str(&text[end..]);
        Ok(out)
    }

    /// Python's `re.findall`: per match, the groups, or the whole match if there are none.
    pub(super) fn find_all(&self, text: &str) -> Result<Vec<Vec<String>>, String> {
        let groups = self.0.captures_len();
        let first = usize::from(groups > 1);
        let found = self.0.captures_iter(text).map(|found| {
            let found = found.map_err(too_much)?;
            let group = |at| found.get(at).map_or("", |it| it.as_str()).to_owned();
            Ok((first..groups).map(group).collect())
        });
        found.collect()
    }
}

fn too_much(error: fancy_regex::Error) -> String {
    format!("a regular expression cannot be followed: {error}")
}

/// Writes a replacement with `\1` and `\g<1>`.
fn expand(replacement: &str, found: &fancy_regex::Captures<'_>, out: &mut String) {
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let group = |name: &str| match name.parse::<usize>() {
            Ok(at) => found.get(at),
            Err(_) => found.name(name),
        };
        if let Some((name, after)) = rest.strip_prefix("g<").and_then(|it| it.split_once('>')) {
            out.push_str(group(name).map_or("", |it| it.as_str()));
            rest = after;
            continue;
        }
        let Some(c) = rest.chars().next() else { break };
        match c {
            '0'..='9' => out.push_str(group(&c.to_string()).map_or("", |it| it.as_str())),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            other => out.push(other),
        }
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
}

/// Rewrites the anchors that mean something else in Python: `$` also matches before a last line end, and `\Z` does not.
fn translated(source: &str) -> String {
    let is_multi_line = source.split("(?").skip(1).any(|flags| {
        flags
            .split([')', ':'])
            .next()
            .is_some_and(|it| it.contains('m') && it.chars().all(|c| "aiLmsux-".contains(c)))
    });
    let (mut out, mut in_class) = (String::new(), false);
    let mut chars = source.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('Z') => out.push_str("\\z"),
                Some(escaped) => out.extend(['\\', escaped]),
                None => out.push('\\'),
            },
            '$' if !in_class && !is_multi_line => out.push_str("(?=\\n?\\z)"),
            '[' if in_class => out.push_str("\\["),
            c => {
                in_class = (in_class || c == '[') && c != ']';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_tasks_match_as_in_python() {
        let sub = |pattern: &str, text: &str| {
            Pattern::parse(pattern)
                .unwrap()
                .replace(text, "", 0)
                .unwrap()
        };
        assert_eq!(sub("\\$", "$5"), "5");
        assert_eq!(sub("(?s).*#### ", "a\nb #### 12"), "12");
        assert_eq!(sub("\\.$", "12.\n"), "12\n");
        assert_eq!(sub("\\.$", "1.2."), "1.2");
        assert_eq!(sub("\\.\\Z", "12.\n"), "12.\n");
        assert_eq!(sub("[$,]", "$1,000"), "1000");
        let pattern = Pattern::parse("(\\w)(?P<b>\\d)").unwrap();
        assert_eq!(pattern.replace("a1 b2", "\\g<b>\\1", 1).unwrap(), "1a b2");

        let all =
            |pattern: &str, text: &str| Pattern::parse(pattern).unwrap().find_all(text).unwrap();
        assert_eq!(
            all("#### (\\-?[0-9\\.\\,]+)", "x #### -1,000."),
            [["-1,000."]]
        );
        assert_eq!(
            all("(-?[$0-9.,]{2,})|(-?[0-9]+)", "7 of $12."),
            [["", "7"], ["$12.", ""]]
        );
        assert_eq!(all("[0-9]+", "1 22"), [["1"], ["22"]]);
        assert!(Pattern::parse("(").is_err());
        let slow = Pattern::parse("(a|b|ab)*(?=c)(?!d)x").unwrap();
        assert!(slow.find_all(&"ab".repeat(500)).is_err());
    }
}
