//! How a model writes calls of tools, told from its chat template.

use serde_json::{Value, json};

use super::tools::{Tool, Tools};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Conversation, Template};

/// Marks around a call, as Hermes and Qwen write them.
pub(super) const TAGS: [&str; 2] = ["<tool_call>", "</tool_call>"];

/// The form of a call: a JSON object with a name and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallForm {
    /// Whether a call stands between [`TAGS`]; else it is the whole answer, as in Llama 3.1.
    pub(super) is_tagged: bool,
    /// Key of the arguments: `arguments`, or `parameters` in Llama 3.1.
    pub(super) arguments: &'static str,
}

impl CallForm {
    /// The form in which a template writes calls of earlier turns, which is that in which the model has learned to
    /// write them. `None` if it is another form, or if the tags are special tokens, which texts do not show.
    pub(super) fn of(template: &Template, tokenizer: &Tokenizer) -> Option<Self> {
        const NAME: &str = "name_of_a_tool";
        let function = json!({"name": NAME, "arguments": {"key": "value"}});
        let messages = json!([
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "call12345", "type": "function", "function": function},
            ]},
        ]);
        let parameters = json!({"type": "object", "properties": {"key": {"type": "string"}}});
        let tool = json!({"type": "function", "function": {"name": NAME, "description": "it", "parameters": parameters}});
        let conversation = Conversation::parse(&messages, Some(&json!([tool]))).ok()?;
        let text = template.text(&conversation, true).ok()?;
        let (before, after) = text.rsplit_once(NAME)?;
        let opening = before
            .rsplit_once("\"name\"")?
            .0
            .trim_end()
            .strip_suffix('{')?;
        let after = after.strip_prefix('"')?.trim_start().strip_prefix(',')?;
        let key = after.trim_start().strip_prefix('"')?;
        let arguments = ["arguments", "parameters"]
            .into_iter()
            .find(|name| key.strip_prefix(name).is_some_and(|it| it.starts_with('"')))?;
        let is_tagged = opening.trim_end().ends_with(TAGS[0]);
        if is_tagged {
            let id = tokenizer.token_id(TAGS[0]);
            if id.is_some_and(|id| tokenizer.is_special(id)) {
                return None;
            }
        } else if opening.trim_end().ends_with(['[', ']']) {
            // a list of calls, or a token that opens it
            return None;
        }
        Some(Self {
            is_tagged,
            arguments,
        })
    }

    /// Grammar in Lark's notation of an answer that calls tools, or, if there is one, is a value of `format`. Schemas
    /// are those of [`with_options`](super::grammar::with_options).
    pub(super) fn lark(self, tools: &Tools, schemas: &[Value], format: Option<&Value>) -> String {
        let callable = tools.callable();
        let more = tools.most_required() - 1;
        let calls = match (self.is_tagged, more) {
            (true, 1..) => format!("call (\"\\n\" call){{0,{more}}}"),
            _ => "call".to_owned(),
        };
        let or_value = if format.is_some() { " | value" } else { "" };
        let names: Vec<String> = (0..callable.len()).map(|at| format!("tool_{at}")).collect();
        let mut text = format!("start: {calls}{or_value}\ncall: {}\n", names.join(" | "));
        for (at, (tool, schema)) in callable.iter().zip(schemas).enumerate() {
            let [open, close] = self.around(tool).map(|it| Value::from(it).to_string());
            text += &format!(
                "tool_{at}: {open} arguments_{at} {close}\narguments_{at}: %json {schema}\n"
            );
        }
        if let Some(schema) = format {
            text += &format!("value: %json {schema}\n");
        }
        text
    }

    /// Text of a call before and after its arguments.
    fn around(self, tool: &Tool) -> [String; 2] {
        let open = format!("{{\"name\": \"{}\", \"{}\": ", tool.name, self.arguments);
        if self.is_tagged {
            [format!("{}\n{open}", TAGS[0]), format!("}}\n{}", TAGS[1])]
        } else {
            [open, "}".into()]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn form(style: &str) -> Option<CallForm> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let source = std::fs::read_to_string(folder.join(format!("{style}.jinja"))).unwrap();
        let tokenizer = Tokenizer::bytes().with_chat_template(&source).unwrap();
        CallForm::of(&Template::of(&tokenizer).unwrap(), &tokenizer)
    }

    #[test]
    fn the_template_tells_the_form() {
        let tagged = CallForm {
            is_tagged: true,
            arguments: "arguments",
        };
        assert_eq!(form("templates/tools_json"), Some(tagged));
        let bare = CallForm {
            is_tagged: false,
            arguments: "parameters",
        };
        assert_eq!(form("calls/llama_tools"), Some(bare));
        for other in [
            "mistral_tools",
            "gemma_like",
            "chatml_default_system",
            "macros",
        ] {
            assert_eq!(form(&format!("templates/{other}")), None, "{other}");
        }
    }
}
