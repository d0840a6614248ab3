//! Tasks that are built in. Their data lies in the layout of Hugging Face's hub.

use serde_json::{Map, Value};

use super::config::parse_builtin;
use super::error::TaskError;

/// Names of the built-in tasks.
pub const NAMES: [&str; 9] = [
    "arc_easy",
    "arc_challenge",
    "boolq",
    "hellaswag",
    "winogrande",
    "commonsense_qa",
    "openbookqa",
    "sciq",
    "piqa",
];

/// Entries of the built-in task of that name.
pub(super) fn stated(name: &str) -> Result<Option<Map<String, Value>>, TaskError> {
    let text = match name {
        "arc_easy" => include_str!("builtin/arc_easy.yaml"),
        "arc_challenge" => include_str!("builtin/arc_challenge.yaml"),
        "boolq" => include_str!("builtin/boolq.yaml"),
        "hellaswag" => include_str!("builtin/hellaswag.yaml"),
        "winogrande" => include_str!("builtin/winogrande.yaml"),
        "commonsense_qa" => include_str!("builtin/commonsense_qa.yaml"),
        "openbookqa" => include_str!("builtin/openbookqa.yaml"),
        "sciq" => include_str!("builtin/sciq.yaml"),
        "piqa" => include_str!("builtin/piqa.yaml"),
        _ => return Ok(None),
    };
    parse_builtin(name, text).map(Some)
}
