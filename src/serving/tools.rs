//! Tools that a request offers to the model, and which of them it must call.

use serde_json::{Map, Value, json};

use super::error::{ApiError, shortened};
use super::fields::{Fields, wrong};

/// Largest number of tools.
const MOST_TOOLS: usize = 128;
/// Largest length of a tool's name.
const LONGEST_NAME: usize = 64;
/// Largest number of calls in an answer that must have some.
const MOST_CALLS: usize = 8;

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// Schema of its arguments, which are an object.
    pub(super) parameters: Value,
    /// Its definition as a chat template sees it.
    definition: Value,
}

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// The model decides.
    Auto,
    /// No tool is called.
    Never,
    /// At least one is called.
    Required,
    /// This one is called.
    Named(String),
}

/// The tools of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tools {
    all: Vec<Tool>,
    pub(super) choice: Choice,
    /// Largest number of calls in an answer.
    pub(super) most_calls: usize,
}

impl Tools {
    /// Reads the fields of a chat.
    pub(super) fn of_chat(fields: &mut Fields) -> Result<Self, ApiError> {
        Self::read(fields, |tool| {
            let function = tool.get("function").cloned();
            function.ok_or_else(|| wrong("tools", tool, "an object with a `function`"))
        })
    }

    /// Reads `tools`, `tool_choice` and `parallel_tool_calls`. `function` takes a function's definition from a tool.
    pub(super) fn read(
        fields: &mut Fields,
        function: impl Fn(&Value) -> Result<Value, ApiError>,
    ) -> Result<Self, ApiError> {
        let given = fields.list("tools")?;
        let all = given.iter().map(|tool| {
            if tool.get("type").is_some_and(|kind| kind != "function") {
                return Err(wrong("tools", tool, "tools of the type \"function\""));
            }
            Tool::read(function(tool)?)
        });
        let all = all.collect::<Result<Vec<Tool>, _>>()?;
        let choice = fields.take("tool_choice");
        let choice = choice.map(|it| Choice::read(&it)).transpose()?;
        let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
        Self::new(all, choice.unwrap_or(Choice::Auto), parallel)
    }

    /// Tools with a choice among them.
    pub(super) fn new(all: Vec<Tool>, choice: Choice, parallel: bool) -> Result<Self, ApiError> {
        if all.len() > MOST_TOOLS {
            return Err(ApiError::field(
                "tools",
                format!(
                    "`tools` has {} tools, expected at most {MOST_TOOLS}",
                    all.len()
                ),
            ));
        }
        let mut names: Vec<&str> = all.iter().map(|tool| tool.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("`tools` has the name `{}` twice", twice[0]);
            return Err(ApiError::field("tools", message));
        }
        match &choice {
            Choice::Named(name) if !names.contains(&name.as_str()) => Err(ApiError::field(
                "tool_choice",
                format!(
                    "`tool_choice` names `{}`, which `tools` does not have",
                    shortened(name)
                ),
            )),
            Choice::Required if all.is_empty() => Err(ApiError::field(
                "tool_choice",
                "`tool_choice` asks for a call, but `tools` has none",
            )),
            _ => Ok(Self {
                all,
                choice,
                most_calls: if parallel { usize::MAX } else { 1 },
            }),
        }
    }

    /// Whether the model may call a tool.
    pub(super) fn are_offered(&self) -> bool {
        !self.all.is_empty() && self.choice != Choice::Never
    }

    /// Whether it must.
    pub(super) fn are_required(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// Largest number of calls that a grammar allows.
    pub(super) fn most_required(&self) -> usize {
        match self.choice {
            Choice::Named(_) => 1,
            _ => self.most_calls.min(MOST_CALLS),
        }
    }

    /// The tools that may be called.
    pub(super) fn callable(&self) -> Vec<&Tool> {
        let tools = self.all.iter().filter(|tool| match &self.choice {
            Choice::Never => false,
            Choice::Named(name) => tool.name == *name,
            Choice::Auto | Choice::Required => true,
        });
        tools.collect()
    }

    /// Definitions for the chat template; none if no tool may be called.
    pub(super) fn definitions(&self) -> Vec<Value> {
        let offered = self.all.iter().filter(|_| self.are_offered());
        offered.map(|tool| tool.definition.clone()).collect()
    }
}

impl Tool {
    /// Reads the definition of a function.
    fn read(function: Value) -> Result<Self, ApiError> {
        let object = function.as_object().cloned();
        let object = object.ok_or_else(|| wrong("tools", &function, "functions with a `name`"))?;
        let mut fields = Fields::of(object);
        let in_tools =
            |error: ApiError| ApiError::field("tools", format!("in `tools`: {}", error.message));
        let name = fields.text("name").map_err(in_tools)?.unwrap_or_default();
        let description = fields.text("description").map_err(in_tools)?;
        let parameters = fields.take("parameters");
        fields.flag("strict").map_err(in_tools)?;
        fields.end().map_err(in_tools)?;
        Self::new(name, description, parameters)
    }

    /// A function. Without `parameters` it takes none.
    pub(super) fn new(
        name: String,
        description: Option<String>,
        parameters: Option<Value>,
    ) -> Result<Self, ApiError> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_part) {
            return Err(ApiError::field(
                "tools",
                format!(
                    "`tools` has the name {:?}, expected 1 to {LONGEST_NAME} letters, digits, `_`, `-` or `.`",
                    shortened(&name)
                ),
            ));
        }
        let mut definition = Map::new();
        definition.insert("name".into(), name.clone().into());
        if let Some(description) = description {
            definition.insert("description".into(), description.into());
        }
        let parameters = match parameters {
            None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
            Some(Value::Object(mut schema)) => {
                definition.insert("parameters".into(), schema.clone().into());
                let kind = schema.entry("type").or_insert_with(|| "object".into());
                if kind != "object" {
                    let expected = "a schema with the type \"object\"";
                    return Err(wrong("tools", &schema.into(), expected));
                }
                closed(schema.into())
            }
            Some(other) => return Err(wrong("tools", &other, "`parameters` that are a schema")),
        };
        Ok(Self {
            name,
            parameters,
            definition: json!({"type": "function", "function": definition}),
        })
    }
}

/// A schema whose objects have no properties but those that it lists, unless it says so: a function knows no others.
fn closed(mut schema: Value) -> Value {
    const OPEN: [&str; 9] = [
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "minProperties",
        "propertyNames",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
    ];
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    if let Some(items) = object.get_mut("items") {
        *items = closed(items.take());
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (_, property) in properties.iter_mut() {
            *property = closed(property.take());
        }
        if !OPEN.iter().any(|keyword| object.contains_key(*keyword)) {
            object.insert("additionalProperties".into(), false.into());
        }
    }
    schema
}

impl Choice {
    /// Reads `tool_choice`: a word, or a function by its name.
    fn read(value: &Value) -> Result<Self, ApiError> {
        let named = || {
            let is_function = value.get("type")? == "function";
            let function = value.get("function").unwrap_or(value);
            let name = function.get("name")?.as_str()?;
            is_function.then(|| Self::Named(name.to_owned()))
        };
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("none") => Ok(Self::Never),
            Some("required") => Ok(Self::Required),
            _ => named().ok_or_else(|| {
                let expected = "\"auto\", \"none\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": \"...\"}}";
                wrong("tool_choice", value, expected)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<Tools, String> {
        let mut fields = Fields::parse(body.to_string().as_bytes()).unwrap();
        Tools::of_chat(&mut fields).map_err(|error| error.message)
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "strict": true, "parameters": {"properties": {}}}})
    }

    #[test]
    fn a_choice_says_which_tools_are_callable() {
        let of = |choice: Value| {
            let tools = read(json!({"tools": [tool("a"), tool("b.c")], "tool_choice": choice}));
            let tools = tools.unwrap();
            let names: Vec<String> = tools.callable().iter().map(|it| it.name.clone()).collect();
            (
                names.join(" "),
                tools.definitions().len(),
                tools.are_required(),
            )
        };
        assert_eq!(of(json!("auto")), ("a b.c".into(), 2, false));
        assert_eq!(of(json!("required")), ("a b.c".into(), 2, true));
        assert_eq!(of(json!("none")), (String::new(), 0, false));
        let named = json!({"type": "function", "function": {"name": "a"}});
        assert_eq!(of(named), ("a".into(), 2, true));
    }

    #[test]
    fn objects_have_the_properties_that_are_listed_unless_a_schema_says_otherwise() {
        let open = json!({"type": "object", "properties": {
            "a": {"type": "array", "items": {"properties": {"b": {}}}},
            "c": {"type": "object", "properties": {}, "additionalProperties": true},
            "d": {"properties": {"e": {}}, "anyOf": [{}]},
            "f": {"type": "object"},
        }});
        let mut expected = open.clone();
        expected["additionalProperties"] = false.into();
        expected["properties"]["a"]["items"]["additionalProperties"] = false.into();
        assert_eq!(closed(open), expected);
    }

    #[test]
    fn what_is_no_tool_is_refused() {
        let with = |tool: Value| read(json!({"tools": [tool]})).unwrap_err();
        assert!(with(json!({"type": "custom", "function": {"name": "a"}})).contains("type"));
        assert!(with(json!({"type": "function"})).contains("`function`"));
        assert!(with(json!({"function": {"name": "a b"}})).contains("\"a b\""));
        assert!(with(json!({"function": {"name": ""}})).contains("expected 1 to 64"));
        assert!(with(json!({"function": {"name": "a", "parameters": [1]}})).contains("schema"));
        let list = json!({"function": {"name": "a", "parameters": {"type": "array"}}});
        assert!(with(list).contains("\"object\""));
        assert!(with(json!({"function": {"name": "a", "colour": 1}})).contains("colour"));
        let twice = json!({"tools": [tool("a"), tool("a")]});
        assert!(read(twice).unwrap_err().contains("twice"));
        let many: Vec<Value> = (0..129).map(|it| tool(&format!("t{it}"))).collect();
        assert!(read(json!({"tools": many})).unwrap_err().contains("129"));
        let other = json!({"tools": [tool("a")], "tool_choice": {"type": "function", "function": {"name": "b"}}});
        assert!(read(other).unwrap_err().contains("`b`"));
        assert!(
            read(json!({"tool_choice": "required"}))
                .unwrap_err()
                .contains("none")
        );
        assert!(
            read(json!({"tool_choice": "maybe"}))
                .unwrap_err()
                .contains("maybe")
        );
    }
}
