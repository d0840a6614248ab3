//! Literals of Python: what `ast.literal_eval` makes of the text that a template renders.

use serde_json::{Map, Number, Value};

/// Largest nesting depth.
const DEPTH: usize = 32;

/// The value of a literal; `None` if the text is no literal of text, numbers, lists, tuples, dicts, booleans and None.
/// Tuples become lists.
pub(super) fn literal(text: &str) -> Option<Value> {
    let mut reader = Reader {
        rest: text.trim_start_matches([' ', '\t']),
        depth: 0,
    };
    let value = reader.value()?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.space();
        let first = self.rest.chars().next()?;
        match first {
            '[' => self.items("[", "]"),
            '(' => self.items("(", ")"),
            '{' => self.entries(),
            '\'' | '"' => {
                let mut text = self.string()?;
                // adjacent strings are one
                loop {
                    self.space();
                    if !self.rest.starts_with(['\'', '"']) {
                        return Some(text.into());
                    }
                    text += &self.string()?;
                }
            }
            _ => self.word(),
        }
    }

    fn items(&mut self, open: &str, close: &str) -> Option<Value> {
        self.eat(open);
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let (mut items, mut commas) = (Vec::new(), 0);
        loop {
            self.space();
            if self.eat(close) {
                break;
            }
            if commas < items.len() {
                return None;
            }
            items.push(self.value()?);
            self.space();
            if self.eat(",") {
                commas += 1;
            }
        }
        self.depth -= 1;
        // parentheses around one value without a comma are no tuple
        if open == "(" && items.len() == 1 && commas == 0 {
            return items.pop();
        }
        Some(Value::Array(items))
    }

    fn entries(&mut self) -> Option<Value> {
        self.eat("{");
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let (mut entries, mut is_open) = (Map::new(), true);
        loop {
            self.space();
            if self.eat("}") {
                break;
            }
            if !is_open {
                return None;
            }
            let key = match self.value()? {
                Value::String(text) => text,
                Value::Array(_) | Value::Object(_) => return None,
                other => other.to_string(),
            };
            self.space();
            if !self.eat(":") {
                return None;
            }
            let value = self.value()?;
            entries.insert(key, value);
            self.space();
            is_open = self.eat(",");
        }
        self.depth -= 1;
        Some(Value::Object(entries))
    }

    fn word(&mut self) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "True" => return Some(true.into()),
            "False" => return Some(false.into()),
            "None" => return Some(Value::Null),
            _ => {}
        }
        let digits = word.trim_start_matches(['+', '-']);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let is_decimal = digits.bytes().all(|b| b.is_ascii_digit());
        if is_decimal && digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        if let Ok(integer) = word.parse::<i64>() {
            return Some(integer.into());
        }
        let float = word.parse::<f64>().ok()?;
        Number::from_f64(float).map(Value::Number)
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut chars = self.rest[1..].char_indices();
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + 2..];
                return Some(text);
            }
            if c == '\n' {
                return None;
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let (_, escaped) = chars.next()?;
            let mut code = |digits: usize| {
                let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                let code = u32::from_str_radix(&hex, 16).ok();
                code.filter(|_| hex.len() == digits)
                    .and_then(char::from_u32)
            };
            match escaped {
                '\n' => {}
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'a' => text.push('\u{7}'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'v' => text.push('\u{b}'),
                'x' => text.push(code(2)?),
                'u' => text.push(code(4)?),
                'U' => text.push(code(8)?),
                '\\' | '\'' | '"' => text.push(escaped),
                // octal digits and names are not read
                '0'..='7' | 'N' => return None,
                other => text.extend(['\\', other]),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_have_the_values_of_python() {
        for (text, expected) in [
            (
                r#"['a', "it's", 'x\ny\'\x00\u00e9']"#,
                json!(["a", "it's", "x\ny'\u{0}é"]),
            ),
            (" [1, -2.5, True, None, ]", json!([1, -2.5, true, null])),
            ("(1,)", json!([1])),
            ("('a')", json!("a")),
            ("['a' 'b']", json!(["ab"])),
            ("{'a': [], 'b': {1: 2}}", json!({"a": [], "b": {"1": 2}})),
            ("7", json!(7)),
        ] {
            assert_eq!(literal(text), Some(expected), "{text}");
        }
        for text in [
            "", "a", "[1", "[1 2]", "['a'", "07", "[1,,2]", "{1}", "f()", "'a\nb'", "1 2",
        ] {
            assert_eq!(literal(text), None, "{text}");
        }
        assert_eq!(literal(&"[".repeat(100_000)), None);
    }
}
