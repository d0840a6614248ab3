//! What a model says, taken apart as it grows: text, and calls of tools.
//!
//! A call's arguments are given out as the model writes them. What only looks like a call is text.

use serde_json::Value;

use super::call_form::{CallForm, TAGS};
use super::tools::Tools;

/// Part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// More text.
    Text(String),
    /// A call of the tool with this name begins.
    Call(String),
    /// More of the newest call's arguments, which are the text of a JSON object.
    Arguments(String),
}

/// Takes an answer apart.
#[derive(Debug, Clone)]
pub(super) struct Speech {
    form: Option<CallForm>,
    names: Vec<String>,
    most_calls: usize,
    calls: usize,
    state: State,
    /// Text that is not given out yet.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but spaces was said since the begin, or the last call.
    Begin,
    /// Text, in which a tagged call may begin.
    Text,
    /// Within a call, before its arguments.
    Head,
    /// Within a call whose arguments do not come last, or not as an object; its text is read when it is complete.
    Whole,
    /// Within the arguments.
    Arguments(Json),
    /// Behind the arguments, before the end of the call.
    Tail,
    /// All calls that are allowed were made.
    Over,
}

/// Place within a JSON object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Json {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Begin of a call, up to its arguments.
enum Head {
    Complete { name: String, end: usize },
    Unfinished,
    Other,
}

impl Speech {
    /// An answer that is text alone.
    pub(super) fn plain() -> Self {
        Self {
            form: None,
            names: Vec::new(),
            most_calls: 0,
            calls: 0,
            state: State::Text,
            held: String::new(),
        }
    }

    /// An answer that may have calls of these tools.
    pub(super) fn with_tools(form: CallForm, tools: &Tools) -> Self {
        let callable = tools.callable().into_iter();
        Self {
            form: Some(form),
            names: callable.map(|tool| tool.name.clone()).collect(),
            most_calls: tools.most_calls,
            state: State::Begin,
            ..Self::plain()
        }
    }

    /// Adds text, and returns what can be told of the answer by now.
    pub(super) fn push(&mut self, text: &str) -> Vec<Part> {
        let Some(form) = self.form else {
            return part(text.to_owned()).into_iter().collect();
        };
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.advance(form, &mut parts) {}
        joined(parts)
    }

    /// The rest of the answer.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let rest = std::mem::take(&mut self.held);
        let (Some(form), false) = (self.form, rest.is_empty()) else {
            return Vec::new();
        };
        let mut parts = Vec::new();
        match self.state {
            State::Head | State::Whole => self.whole(form, &rest, "", &mut parts),
            State::Begin if self.calls > 0 && rest.trim().is_empty() => {}
            State::Begin | State::Text => parts.extend(part(rest)),
            State::Arguments(_) | State::Tail | State::Over => {}
        }
        parts
    }

    /// Reads some of the held text. Returns false if more is needed.
    fn advance(&mut self, form: CallForm, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Begin => {
                let said = self.held.trim_start();
                if form.is_tagged || said.is_empty() {
                    return form.is_tagged && self.text(parts);
                }
                self.state = if said.starts_with('{') {
                    State::Head
                } else {
                    State::Text
                };
                true
            }
            State::Text if form.is_tagged => self.text(parts),
            State::Text => {
                parts.extend(part(std::mem::take(&mut self.held)));
                false
            }
            State::Head => match head(&self.held, form.arguments) {
                Head::Complete { name, end } if self.names.contains(&name) => {
                    self.begin_call(name, parts);
                    self.held.drain(..end);
                    self.state = State::Arguments(Json::default());
                    true
                }
                Head::Unfinished if !(form.is_tagged && self.held.contains(TAGS[1])) => false,
                _ => {
                    self.state = State::Whole;
                    true
                }
            },
            State::Whole if form.is_tagged => {
                let Some(end) = self.held.find(TAGS[1]) else {
                    return false;
                };
                let rest = self.held.split_off(end + TAGS[1].len());
                let call = std::mem::replace(&mut self.held, rest);
                self.whole(form, &call[..end], TAGS[1], parts);
                true
            }
            State::Whole => false,
            State::Arguments(json) => self.arguments(json, parts),
            State::Tail => self.tail(form),
            State::Over => {
                self.held.clear();
                false
            }
        }
    }

    /// Text up to the next tag.
    fn text(&mut self, parts: &mut Vec<Part>) -> bool {
        if let Some(at) = self.held.find(TAGS[0]) {
            let mut before = self.held.split_off(at + TAGS[0].len());
            std::mem::swap(&mut before, &mut self.held);
            before.truncate(at);
            parts.extend(part(before.trim_end().to_owned()));
            self.state = State::Head;
            return true;
        }
        // spaces may stand before a call
        let mut end = self.held.len();
        for len in (1..TAGS[0].len()).rev() {
            if self.held.ends_with(&TAGS[0][..len]) {
                end -= len;
                break;
            }
        }
        let end = self.held[..end].trim_end().len();
        let rest = self.held.split_off(end);
        let said = std::mem::replace(&mut self.held, rest);
        if !said.is_empty() {
            self.state = State::Text;
        }
        parts.extend(part(said));
        false
    }

    fn begin_call(&mut self, name: String, parts: &mut Vec<Part>) {
        self.calls += 1;
        parts.push(Part::Call(name));
    }

    /// A call whose text is complete; text if it is none.
    fn whole(&mut self, form: CallForm, call: &str, close: &str, parts: &mut Vec<Part>) {
        let read = || {
            let object: Value = serde_json::from_str(call.trim()).ok()?;
            let name = object.get("name")?.as_str()?;
            let arguments = object.get(form.arguments)?.as_object()?;
            let is_known = self.names.iter().any(|known| known == name);
            let arguments = Value::from(arguments.clone()).to_string();
            is_known.then(|| (name.to_owned(), arguments))
        };
        match read() {
            Some((name, arguments)) => {
                self.begin_call(name, parts);
                parts.push(Part::Arguments(arguments));
                self.state = self.after_call();
            }
            None => {
                let open = if form.is_tagged { TAGS[0] } else { "" };
                parts.extend(part([open, call, close].concat()));
                self.state = State::Text;
            }
        }
    }

    fn after_call(&self) -> State {
        if self.calls < self.most_calls {
            State::Begin
        } else {
            State::Over
        }
    }

    /// Arguments up to the end of their object.
    fn arguments(&mut self, mut json: Json, parts: &mut Vec<Part>) -> bool {
        let end = self.held.bytes().position(|byte| json.ends_by(byte));
        let rest = self
            .held
            .split_off(end.map_or(self.held.len(), |end| end + 1));
        let given = std::mem::replace(&mut self.held, rest);
        if !given.is_empty() {
            parts.push(Part::Arguments(given));
        }
        self.state = match end {
            Some(_) => State::Tail,
            None => State::Arguments(json),
        };
        end.is_some()
    }

    /// What closes a call.
    fn tail(&mut self, form: CallForm) -> bool {
        let closes = |c: char| c.is_whitespace() || c == '}' || (c == ';' && !form.is_tagged);
        let begin = self.held.len() - self.held.trim_start_matches(closes).len();
        self.held.drain(..begin);
        if self.held.is_empty() || (form.is_tagged && TAGS[1].starts_with(&*self.held)) {
            if self.held == TAGS[1] {
                self.held.clear();
                self.state = self.after_call();
            }
            return false;
        }
        if form.is_tagged && self.held.starts_with(TAGS[1]) {
            self.held.drain(..TAGS[1].len());
        }
        self.state = self.after_call();
        true
    }
}

impl Json {
    /// Reads a byte; returns whether it ends the object.
    fn ends_by(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth == 0
    }
}

/// Reads `{"name": "NAME", "KEY": ` before a `{`.
fn head(text: &str, key: &str) -> Head {
    let mut cursor = Cursor { text, at: 0 };
    let mut read = || -> Result<(String, usize), Head> {
        for expected in ["{", "\"name\"", ":", "\""] {
            cursor.expect(expected)?;
        }
        let name = cursor.until_quote()?;
        for expected in [",", &format!("\"{key}\""), ":", "{"] {
            cursor.expect(expected)?;
        }
        Ok((name, cursor.at - 1))
    };
    match read() {
        Ok((name, end)) => Head::Complete { name, end },
        Err(head) => head,
    }
}

/// A place in a text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    /// Reads spaces and a text.
    fn expect(&mut self, expected: &str) -> Result<(), Head> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        if rest.starts_with(expected) {
            self.at += expected.len();
            Ok(())
        } else if expected.starts_with(rest) {
            Err(Head::Unfinished)
        } else {
            Err(Head::Other)
        }
    }

    /// Reads up to a quotation mark and over it.
    fn until_quote(&mut self) -> Result<String, Head> {
        let rest = &self.text[self.at..];
        let length = rest.find('"').ok_or(Head::Unfinished)?;
        self.at += length + 1;
        Ok(rest[..length].to_owned())
    }
}

/// A text as a part, unless it is empty.
fn part(text: String) -> Option<Part> {
    (!text.is_empty()).then_some(Part::Text(text))
}

/// Joins neighbours of one kind.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut all: Vec<Part> = Vec::new();
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (Some(Part::Arguments(before)), Part::Arguments(text)) => before.push_str(&text),
            (_, part) => all.push(part),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::serving::fields::Fields;

    fn tools(parallel: bool) -> Tools {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let body = json!({"tools": [tool("f"), tool("g")], "parallel_tool_calls": parallel});
        let mut fields = Fields::parse(body.to_string().as_bytes()).unwrap();
        Tools::of_chat(&mut fields).unwrap()
    }

    /// Parts of a text as one line: text as it is, calls as `[name arguments]`.
    fn said(form: CallForm, text: &str, parallel: bool) -> String {
        let show = |pieces: Vec<&str>| {
            let mut speech = Speech::with_tools(form, &tools(parallel));
            let mut parts: Vec<Part> = pieces.iter().flat_map(|it| speech.push(it)).collect();
            parts.extend(speech.finish());
            let mut line = String::new();
            for part in joined(parts) {
                match part {
                    Part::Text(text) => line += &text,
                    Part::Call(name) => line += &format!("[{name} "),
                    Part::Arguments(text) => line += &format!("{text}]"),
                }
            }
            line
        };
        let whole = show(vec![text]);
        // pieces do not matter
        let mut ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        ends.push(text.len());
        let letters = ends.windows(2).map(|it| &text[it[0]..it[1]]).collect();
        assert_eq!(show(letters), whole, "{text}");
        for &cut in &ends {
            let (left, right) = text.split_at(cut);
            assert_eq!(show(vec![left, right]), whole, "{text} at {cut}");
        }
        whole
    }

    const TAGGED: CallForm = CallForm {
        is_tagged: true,
        arguments: "arguments",
    };
    const BARE: CallForm = CallForm {
        is_tagged: false,
        arguments: "parameters",
    };

    #[test]
    fn tagged_calls_are_told_from_text() {
        for (text, expected) in [
            ("plain < text <tool", "plain < text <tool"),
            (" spaces \n", " spaces \n"),
            (
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}\\\"{\"}}\n</tool_call>",
                "[f {\"a\": \"}\\\"{\"}]",
            ),
            (
                "I look.\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"b\": [{}]}}\n</tool_call>\n",
                "I look.[f {}][g {\"b\": [{}]}]",
            ),
            (
                "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"g\"}</tool_call> done",
                "[g {\"a\":1}] done",
            ),
            (
                "<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call>",
                "<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call>",
            ),
            (
                "<tool_call>nonsense</tool_call>!",
                "<tool_call>nonsense</tool_call>!",
            ),
            ("<tool_call>{\"name\": \"f\"", "<tool_call>{\"name\": \"f\""),
            (
                "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1",
                "[f {\"a\": 1]",
            ),
            (
                "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}} and",
                "[f {\"a\": 1}]and",
            ),
        ] {
            assert_eq!(said(TAGGED, text, true), expected, "{text}");
        }
    }

    #[test]
    fn a_bare_call_is_the_whole_answer() {
        for (text, expected) in [
            ("plain", "plain"),
            (
                "{\"name\": \"f\", \"parameters\": {\"é\": 1}}",
                "[f {\"é\": 1}]",
            ),
            (
                "\n{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}",
                "[f {}][g {}]",
            ),
            ("{\"parameters\": {}, \"name\": \"f\"}", "[f {}]"),
            ("{\"answer\": 5}", "{\"answer\": 5}"),
            (
                "see {\"name\": \"f\", \"parameters\": {}}",
                "see {\"name\": \"f\", \"parameters\": {}}",
            ),
        ] {
            assert_eq!(said(BARE, text, true), expected, "{text}");
        }
    }

    #[test]
    fn without_parallel_calls_the_first_is_the_last() {
        let call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
        assert_eq!(said(TAGGED, &call.repeat(3), false), "[f {}]");
        assert_eq!(said(TAGGED, &call.repeat(3), true), "[f {}][f {}][f {}]");
    }
}
