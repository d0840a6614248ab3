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

const KINDS: &str = "a `type` of \"text\", \"json_object\" or \"json_schema\"";

impl Format {
    /// Reads `response_format` of a chat.
    pub(super) fn of_chat(fields: &mut Fields) -> Result<Self, ApiError> {
        const FIELD: &str = "response_format";
        let Some(value) = fields.take(FIELD) else {
            return Ok(Self::Text);
        };
        let refused = || wrong(FIELD, &value, KINDS);
        let mut object = value.as_object().cloned().ok_or_else(refused)?;
        let kind = object.shift_remove("type").unwrap_or_default();
        let holder = object.shift_remove("json_schema");
        if let Some(key) = object.keys().next() {
            let key = super::error::shortened(key);
            let message =
                format!("`{FIELD}` has the key `{key}`, which is not known here: leave it out");
            return Err(ApiError::field(FIELD, message));
        }
        Self::of_kind(FIELD, &kind, holder)
    }

    /// The form of this kind, whose schema stands in `holder`, beside its name.
    pub(super) fn of_kind(
        param: &'static str,
        kind: &Value,
        holder: Option<Value>,
    ) -> Result<Self, ApiError> {
        let schema = match kind.as_str() {
            Some("text") => return Ok(Self::Text),
            Some("json_object") => json!({"type": "object"}),
            Some("json_schema") => {
                let holder = holder.unwrap_or_default();
                let refused = || {
                    wrong(
                        param,
                        &holder,
                        "a `json_schema` with a `name` and a `schema`",
                    )
                };
                let in_param = |error: ApiError| {
                    ApiError::field(param, format!("in `{param}`: {}", error.message))
                };
                let mut named = Fields::of(holder.as_object().cloned().ok_or_else(refused)?);
                for text in ["name", "description"] {
                    named.text(text).map_err(in_param)?;
                }
                // every schema is followed strictly
                named.flag("strict").map_err(in_param)?;
                let schema = named.take("schema").unwrap_or_else(|| json!({}));
                named.end().map_err(in_param)?;
                schema
            }
            _ => return Err(wrong(param, kind, KINDS)),
        };
        Ok(Self::Json { schema, param })
    }

    /// The schema of answers, and the field that has it; `None` for any text.
    pub(super) fn schema(&self) -> Option<(&Value, &'static str)> {
        match self {
            Self::Text => None,
            Self::Json { schema, param } => Some((schema, param)),
        }
    }
}
