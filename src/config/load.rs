//! Strict parsing of JSON, with every error at its line and column or key path.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::error::ConfigError;
use super::{old_keys, preset};

/// Parses a value; errors name the line and column, or the path of the key.
pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, ConfigError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let renames = old_keys::renames(json);
        if !renames.is_empty() {
            return ConfigError::OldKeys { renames };
        }
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        explain(error.into_inner(), &path)
    })?;
    deserializer.end().map_err(|error| explain(error, ""))?;
    Ok(value)
}

fn explain(error: serde_json::Error, path: &str) -> ConfigError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason = match message.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_string(),
        None => message.clone(),
    };
    if matches!(error.classify(), Category::Syntax | Category::Eof) {
        return ConfigError::Syntax {
            line,
            column,
            reason,
        };
    }
    // serde has no typed form of these two errors; the texts are those of `serde::de::Error`'s default methods
    let mut quoted = reason.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(key) if reason.starts_with("unknown field") => ConfigError::UnknownKey {
            hint: hint(key, path, &quoted.collect::<Vec<_>>()),
            path: join(path, key),
        },
        Some(key) if reason.starts_with("missing field") => ConfigError::MissingKey {
            path: join(path, key),
        },
        _ => ConfigError::WrongType {
            path: if path.is_empty() { "." } else { path }.into(),
            line,
            column,
            reason,
        },
    }
}

/// Joins path and key, unless the path already ends in the key, as it does except where serde buffers a section.
fn join(path: &str, key: &str) -> String {
    match path.rsplit('.').next() {
        Some("") | None => key.into(),
        Some(last) if last == key => path.into(),
        Some(_) => format!("{path}.{key}"),
    }
}

/// A suggestion for an unknown key: a sibling with a similar name, else the path of a key of this name in another
/// section.
fn hint(key: &str, path: &str, valid: &[&str]) -> String {
    let section = join(path, key);
    let section = section.rsplit_once('.').map_or("", |(section, _)| section);
    let within_reach = 1 + key.len() / 3;
    let nearest = valid
        .iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|&(distance, _)| distance <= within_reach)
        .min();
    if let Some((_, nearest)) = nearest {
        let separator = if section.is_empty() { "" } else { "." };
        return format!("did you mean `{section}{separator}{nearest}`?");
    }
    if let Some(elsewhere) = elsewhere(key) {
        return format!("did you mean `{elsewhere}`?");
    }
    match valid {
        [] => "expected none here".into(),
        valid => format!("expected one of: {}", valid.join(", ")),
    }
}

/// Path of a key of this name in a configuration that has every section.
fn elsewhere(key: &str) -> Option<String> {
    fn find(value: &Value, key: &str, path: &str) -> Option<String> {
        value.as_object()?.iter().find_map(|(name, value)| {
            let path = join_plain(path, name);
            if name == key {
                Some(path)
            } else {
                find(value, key, &path)
            }
        })
    }
    fn join_plain(path: &str, name: &str) -> String {
        match path {
            "" => name.into(),
            path => format!("{path}.{name}"),
        }
    }
    let complete: super::Experiment = serde_json::from_str(preset::json("5b").ok()?).ok()?;
    find(&serde_json::to_value(complete).ok()?, key, "")
}

/// Levenshtein distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (removed, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = removed + 1;
        for (column, &other) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Experiment;

    /// The error of a small preset with one passage replaced.
    fn message(passage: &str, replacement: &str) -> String {
        let json = preset::json("5b").unwrap();
        assert!(json.contains(passage), "{passage}");
        let error = Experiment::from_json(&json.replacen(passage, replacement, 1)).unwrap_err();
        error.to_string()
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_path_with_the_nearest_one() {
        assert_eq!(
            message("\"router\"", "\"rooter\""),
            "unknown key `model.moe.rooter`, did you mean `model.moe.router`?"
        );
        assert_eq!(
            message("\"training\"", "\"trainig\""),
            "unknown key `trainig`, did you mean `training`?"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_in_sections_that_serde_buffers() {
        assert_eq!(
            message("\"factor\"", "\"facto\""),
            "unknown key `model.rope.rope_scaling.facto`, did you mean `model.rope.rope_scaling.factor`?"
        );
        assert_eq!(
            message("\"decay\"", "\"dekay\""),
            "unknown key `training.schedule.dekay`, did you mean `training.schedule.decay`?"
        );
    }

    #[test]
    fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
        assert_eq!(
            message("\"model\": {", "\"model\": {\"n_routed_experts\": 64,"),
            "unknown key `model.n_routed_experts`, did you mean `model.moe.n_routed_experts`?"
        );
    }

    #[test]
    fn a_key_like_no_other_is_answered_with_those_there_are() {
        assert_eq!(
            message("\"mla\": {", "\"perceptron\": 1, \"mla\": {"),
            "unknown key `model.mixer.perceptron`, expected one of: mla, gqa, gla, fox, gated_attention"
        );
    }

    #[test]
    fn a_missing_key_is_named_with_its_path() {
        let passage = "\"n_routed_experts\": 64,";
        assert_eq!(
            message(passage, ""),
            "missing key `model.moe.n_routed_experts`"
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_path_and_line() {
        assert_eq!(
            message("\"vocab_size\": 102400", "\"vocab_size\": \"many\""),
            "`model.vocab_size` at line 3, column 24: invalid type: string \"many\", expected usize"
        );
    }

    #[test]
    fn broken_json_is_told_by_line_and_column() {
        let message = |json| Experiment::from_json(json).unwrap_err().to_string();
        assert_eq!(
            message("{\n  \"model\": ]"),
            "line 2, column 12: expected value"
        );
        assert_eq!(
            message("{\n"),
            "line 2, column 0: EOF while parsing an object"
        );
        let trailing = format!("{}x", preset::json("tiny").unwrap());
        assert!(message(&trailing).ends_with("trailing characters"));
    }

    #[test]
    fn the_published_keys_are_answered_with_the_new_names() {
        let old = r#"{"hidden_size": 512, "n_layers": 6, "moe_top_k": 4}"#;
        assert_eq!(
            Experiment::from_json(old).unwrap_err().to_string(),
            "these keys have new names: `n_layers` is now `model.num_hidden_layers`, \
             `moe_top_k` is now `model.moe.num_experts_per_tok`, `hidden_size` is now `model.hidden_size`"
        );
    }

    #[test]
    fn distances_count_single_letters() {
        assert_eq!(distance("rooter", "router"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
