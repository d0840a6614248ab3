//! The settings in which two experiments differ.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::config::{ConfigError, Experiment};

/// A changed setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Path of the setting, as in `training.learning_rate`.
    pub field: String,
    /// Old value.
    pub before: Value,
    /// New value.
    pub now: Value,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.strip_prefix("training.");
        let field = field.unwrap_or(&self.field);
        write!(f, "{field} {} -> {}", self.before, self.now)
    }
}

/// Every setting that differs between two experiments.
///
/// # Errors
///
/// [`ConfigError::Write`] if a number has no JSON form.
pub fn differences(before: &Experiment, now: &Experiment) -> Result<Vec<Change>, ConfigError> {
    let json = |it: &Experiment| serde_json::to_value(it).map_err(ConfigError::Write);
    let mut found = Vec::new();
    collect("", &json(before)?, &json(now)?, &mut found);
    Ok(found)
}

fn collect(path: &str, before: &Value, now: &Value, found: &mut Vec<Change>) {
    match (before, now) {
        // a schedule is compared as one setting
        (Value::Object(left), Value::Object(right)) if path != "training.schedule" => {
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let dot = if path.is_empty() { "" } else { "." };
                let [left, right] = [left, right].map(|it| it.get(key).unwrap_or(&Value::Null));
                collect(&format!("{path}{dot}{key}"), left, right, found);
            }
        }
        _ if before == now => {}
        _ => found.push(Change {
            field: path.into(),
            before: before.clone(),
            now: now.clone(),
        }),
    }
}
