//! Finds the members of a JSON object without parsing values that are not needed.
//!
//! Unused values may contain what Python's `json` writes and serde_json refuses: `NaN`, `Infinity`, lone surrogates,
//! numbers of any size, and control characters. The scanner does not recurse; each level of nesting costs one byte.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// A key, and the text of its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: &'a str,
    /// Offset of the value's first byte in the text.
    pub(super) at: usize,
}

/// A syntax error, with its byte offset in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// Calls `each` for every member of the object in `text`, in order; keys may repeat.
pub(super) fn members<'a>(text: &'a str, mut each: impl FnMut(Member<'a>)) -> Result<(), Fault> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    if !scanner.eat(b'{') {
        return Err(scanner.fault("expected an object `{...}`"));
    }
    scanner.space();
    if !scanner.eat(b'}') {
        loop {
            let key = scanner.key()?;
            scanner.space();
            let at = scanner.at;
            scanner.value()?;
            each(Member {
                key,
                value: &text[at..scanner.at],
                at,
            });
            scanner.space();
            if scanner.eat(b'}') {
                break;
            }
            if !scanner.eat(b',') {
                return Err(scanner.fault("expected `,` or `}`"));
            }
            scanner.space();
        }
    }
    scanner.space();
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.fault("expected nothing behind the object")),
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn fault(&self, reason: &str) -> Fault {
        let reason = match self.peek() {
            None => format!("{reason} before the end"),
            Some(_) => reason.into(),
        };
        Fault {
            at: self.at,
            reason,
        }
    }

    /// Skips a key and its colon.
    fn key(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in double quotes"));
        }
        let start = self.at;
        self.string()?;
        let quoted = &self.text[start..self.at];
        self.space();
        if !self.eat(b':') {
            return Err(self.fault("expected `:`"));
        }
        let plain = &quoted[1..quoted.len() - 1];
        if !plain.contains('\\') {
            return Ok(plain.into());
        }
        // an invalid string cannot be one of the known keys
        Ok(serde_json::from_str::<String>(quoted).map_or(plain.into(), Cow::Owned))
    }

    /// Skips a string; any character may follow a backslash.
    fn string(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        Err(Fault {
            at: start,
            reason: "a string that does not end".into(),
        })
    }

    /// Skips a value of any depth.
    fn value(&mut self) -> Result<(), Fault> {
        let mut closers = Vec::new();
        loop {
            self.space();
            let closer = match self.peek() {
                Some(b'{') => Some(b'}'),
                Some(b'[') => Some(b']'),
                Some(b'"') => {
                    self.string()?;
                    None
                }
                _ => {
                    self.scalar()?;
                    None
                }
            };
            if let Some(closer) = closer {
                self.at += 1;
                self.space();
                if !self.eat(closer) {
                    closers.push(closer);
                    if closer == b'}' {
                        self.key()?;
                    }
                    continue;
                }
            }
            // the value has ended, and possibly the containers that it is the last value of
            loop {
                let Some(&closer) = closers.last() else {
                    return Ok(());
                };
                self.space();
                if self.eat(closer) {
                    closers.pop();
                    continue;
                }
                if !self.eat(b',') {
                    return Err(match closer {
                        b'}' => self.fault("expected `,` or `}`"),
                        _ => self.fault("expected `,` or `]`"),
                    });
                }
                self.space();
                if closer == b'}' {
                    self.key()?;
                }
                break;
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let is_pythons = matches!(word, "NaN" | "Infinity" | "-Infinity");
        if !is_pythons && serde_json::from_str::<IgnoredAny>(word).is_err() {
            return Err(self.fault("expected a value"));
        }
        self.at += end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Vec<(String, &str)>, Fault> {
        let mut all = Vec::new();
        members(text, |member| {
            assert!(text[member.at..].starts_with(member.value));
            all.push((member.key.into_owned(), member.value));
        })?;
        Ok(all)
    }

    fn fault(text: &str) -> (usize, String) {
        let fault = values(text).unwrap_err();
        (fault.at, fault.reason)
    }

    #[test]
    fn members_come_in_order_with_their_values_as_they_stand() {
        let text = r#" {"a" : 1.5e3 ,"b\u0021":{"x":[1,{"y":"}\""}]},"a":"z", "e":[] , "f":{}} "#;
        let expected = [
            ("a", "1.5e3"),
            ("b!", r#"{"x":[1,{"y":"}\""}]}"#),
            ("a", r#""z""#),
            ("e", "[]"),
            ("f", "{}"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(values(text).unwrap(), expected);
        assert_eq!(values("{}").unwrap(), []);
    }

    #[test]
    fn what_python_writes_and_serde_json_refuses_is_passed_over() {
        for value in [
            "NaN",
            "-Infinity",
            r#"[Infinity, {"p": NaN}]"#,
            r#""\ud800 \udc00\ud800""#,
            "1e999999",
            &"9".repeat(5000),
            "\"a\ttab\"",
        ] {
            let text = format!("{{\"x\": {value}, \"text\": \"a\"}}");
            let found = values(&text).unwrap();
            assert_eq!(found[0].1, value);
            assert_eq!(found[1], ("text".into(), "\"a\""));
        }
        assert_eq!(values(r#"{"\ud800": 1, "text": 2}"#).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_byte() {
        for (text, at, reason) in [
            ("[1]", 0, "expected an object `{...}`"),
            ("", 0, "expected an object `{...}` before the end"),
            (r#"{"a": "b" "c"}"#, 10, "expected `,` or `}`"),
            (r#"{"a": [1 2]}"#, 9, "expected `,` or `]`"),
            (r#"{"a": {"b":1 2}}"#, 13, "expected `,` or `}`"),
            (r#"{"a": [1,]}"#, 9, "expected a value"),
            (r#"{"a":1,}"#, 7, "expected a key in double quotes"),
            (r#"{"a":{"b":1,}}"#, 12, "expected a key in double quotes"),
            (r#"{'a':1}"#, 1, "expected a key in double quotes"),
            (r#"{"a" 1}"#, 5, "expected `:`"),
            (r#"{"a": nul}"#, 6, "expected a value"),
            (r#"{"a": nan}"#, 6, "expected a value"),
            (r#"{"a": 01}"#, 6, "expected a value"),
            (r#"{"a": "b}"#, 6, "a string that does not end"),
            (r#"{"a": "b\"#, 6, "a string that does not end"),
            (r#"{"a": [1"#, 8, "expected `,` or `]` before the end"),
            (r#"{"a": 1} {"#, 9, "expected nothing behind the object"),
            (r#"{"a": [}"#, 7, "expected a value"),
        ] {
            assert_eq!(fault(text), (at, reason.into()), "{text}");
        }
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(values(&deep).unwrap().len(), 1);
    }
}
