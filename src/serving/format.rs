//! The form of an answer: free text, or JSON.

use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{Fields, wrong};

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    /// Any text.
    Text,
    /// A value that a JSON schema describes.
    Json {
        /// The schema.
        schema: Value,
        /// The field that has it.
        param: &'static str,
    },
}

const KINDS: &str = "an object with a `type` of \"text\", \"json_object\" or \"json_schema\"";

impl Format {
    /// Reads `response_format` of a chat.
    pub(super) fn of_chat(fields: &mut Fields) -> Result<Self, ApiError> {
        const FIELD: &str = "response_format";
        let Some(value) = fields.take(FIELD) else {
            return Ok(Self::Text);
        };
        let schema = value.get("json_schema").cloned();
        let known = ["type", "json_schema"];
        Self::read(FIELD, &value, &known, schema)
    }

    /// Reads a form whose schema stands in `holder`, beside its name.
    fn read(
        field: &'static str,
        value: &Value,
        known: &[&str],
        holder: Option<Value>,
    ) -> Result<Self, ApiError> {
        let refused = || wrong(field, value, KINDS);
        let object = value.as_object().ok_or_else(refused)?;
        if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(unknown(field, key));
        }
        match object.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Self::Text),
            Some("json_object") => Ok(Self::Json {
                schema: json!({"type": "object"}),
                param: field,
            }),
            Some("json_schema") => {
                let expected = "an object with a `name` and a `schema`";
                let path = format!("{field}.json_schema");
                let holder = holder.unwrap_or_default();
                let wrong = || wrong(&path, &holder, expected);
                let mut named = Fields::of(holder.as_object().cloned().ok_or_else(wrong)?);
                for text in ["name", "description", "type"] {
                    named.text(text)?;
                }
                // every schema is followed strictly
                named.flag("strict")?;
                let schema = named.take("schema").unwrap_or_else(|| json!({}));
                named.end()?;
                Ok(Self::Json {
                    schema,
                    param: field,
                })
            }
            _ => Err(refused()),
        }
    }

    /// The schema of answers, and the field that has it; `None` for any text.
    pub(super) fn schema(&self) -> Option<(&Value, &'static str)> {
        match self {
            Self::Text => None,
            Self::Json { schema, param } => Some((schema, param)),
        }
    }
}

fn unknown(field: &str, key: &str) -> ApiError {
    let key = super::error::shortened(key);
    ApiError::field(
        field,
        format!("`{field}` has the key `{key}`, which is not known here: leave it out"),
    )
}
