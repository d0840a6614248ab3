//! Rotary positions in `config.json`, in both of their forms.
//!
//! Before transformers 5: `rope_theta` beside `rope_scaling`; since then: both within `rope_parameters`. The key of
//! the scaling's type is `type` or `rope_type`.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::interop::InteropError;
use crate::model::rope::{Linear, Llama3, RopeConfig, RopeScaling, Yarn};

/// Reads the rotary positions. Partly rotated heads are refused unless `is_partial`, in which case the family reads
/// the fraction.
pub(super) fn parse(
    config: &Fields<'_>,
    default_theta: f64,
    max_position_embeddings: usize,
    is_partial: bool,
) -> Result<RopeConfig, InteropError> {
    let section = match config.section("rope_scaling")? {
        Some(section) => Some(section),
        None => config.section("rope_parameters")?,
    };
    let outer_theta = config.positive_or("rope_theta", default_theta)?;
    let partial = "partial_rotary_factor";
    if !is_partial {
        config.none_of(&[partial])?;
    }
    let Some(section) = section else {
        return Ok(RopeConfig {
            rope_theta: outer_theta,
            rope_scaling: None,
        });
    };
    if !is_partial {
        section.only(partial, json!(1.0))?;
    }
    Ok(RopeConfig {
        rope_theta: section.positive_or("rope_theta", outer_theta)?,
        rope_scaling: scaling(&section, max_position_embeddings)?,
    })
}

/// `rope_theta` and `rope_scaling`, with `kind` as the key of the scaling's type.
pub(super) fn entries(rope: &RopeConfig, kind: &str) -> Map<String, Value> {
    let scaling = match &rope.rope_scaling {
        None => Value::Null,
        Some(RopeScaling::Yarn(yarn)) => {
            let mut object = json!({
                kind: "yarn",
                "factor": yarn.factor,
                "original_max_position_embeddings": yarn.original_max_position_embeddings,
                "beta_fast": yarn.beta_fast,
                "beta_slow": yarn.beta_slow,
            });
            for (key, value) in [
                ("mscale", yarn.mscale),
                ("mscale_all_dim", yarn.mscale_all_dim),
                ("attention_factor", yarn.attention_factor),
            ] {
                if let Some(value) = value {
                    object[key] = json!(value);
                }
            }
            object
        }
        Some(RopeScaling::Llama3(llama)) => json!({
            kind: "llama3",
            "factor": llama.factor,
            "low_freq_factor": llama.low_freq_factor,
            "high_freq_factor": llama.high_freq_factor,
            "original_max_position_embeddings": llama.original_max_position_embeddings,
        }),
        Some(RopeScaling::Linear(linear)) => json!({
            kind: "linear",
            "factor": linear.factor,
        }),
    };
    Map::from_iter([
        ("rope_theta".into(), json!(rope.rope_theta)),
        ("rope_scaling".into(), scaling),
    ])
}

/// The scaling beyond the trained context; `None` if there is none.
fn scaling(fields: &Fields<'_>, context: usize) -> Result<Option<RopeScaling>, InteropError> {
    let key = if fields.value("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    match (fields.value(key), fields.text(key)) {
        (None, _) | (_, Some("default")) => Ok(None),
        (_, Some("yarn")) => {
            fields.only("truncate", json!(true))?;
            Ok(Some(RopeScaling::Yarn(Yarn {
                factor: fields.required_positive("factor")?,
                original_max_position_embeddings: fields
                    .size_or("original_max_position_embeddings", context)?,
                beta_fast: fields.positive_or("beta_fast", 32.0)?,
                beta_slow: fields.positive_or("beta_slow", 1.0)?,
                mscale: fields.float("mscale")?,
                mscale_all_dim: fields.float("mscale_all_dim")?,
                attention_factor: fields.positive("attention_factor")?,
            })))
        }
        (_, Some("llama3")) => Ok(Some(RopeScaling::Llama3(Llama3 {
            factor: fields.required_positive("factor")?,
            low_freq_factor: fields.required_positive("low_freq_factor")?,
            high_freq_factor: fields.required_positive("high_freq_factor")?,
            original_max_position_embeddings: fields.size("original_max_position_embeddings")?,
        }))),
        (_, Some("linear")) => Ok(Some(RopeScaling::Linear(Linear {
            factor: fields.required_positive("factor")?,
        }))),
        _ => Err(fields.error(key, "default, linear, yarn or llama3")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{RopeConfig, RopeScaling, entries};
    use crate::interop::hugging_face::config::fields::Fields;

    fn parse(json: &Value) -> Result<RopeConfig, String> {
        let fields = Fields::new(Path::new("c"), json.as_object().unwrap());
        super::parse(&fields, 7.0, 512, false).map_err(|error| error.to_string())
    }

    #[test]
    fn theta_stands_outside_or_within() {
        let theta = |json| parse(&json).unwrap().rope_theta;
        assert_eq!(theta(json!({})), 7.0);
        assert_eq!(theta(json!({"rope_theta": 10000})), 10000.0);
        let within = json!({"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}});
        assert_eq!(theta(within), 5.0);
        let beside = json!({"rope_theta": 3.0, "rope_scaling": {"type": "yarn", "factor": 2}});
        assert_eq!(theta(beside), 3.0);
    }

    #[test]
    fn yarn_has_defaults_and_both_kinds_of_key() {
        for key in ["type", "rope_type"] {
            let section = json!({key: "yarn", "factor": 4, "attention_factor": 1.5});
            let rope = parse(&json!({ "rope_scaling": section })).unwrap();
            let Some(RopeScaling::Yarn(yarn)) = &rope.rope_scaling else {
                panic!("{rope:?}");
            };
            assert_eq!(yarn.attention_factor, Some(1.5));
            assert_eq!((yarn.beta_fast, yarn.beta_slow), (32.0, 1.0));
            assert_eq!(yarn.original_max_position_embeddings, 512);
            let written = Value::Object(entries(&rope, key));
            assert_eq!(parse(&written).unwrap(), rope);
            assert_eq!(written["rope_scaling"][key], "yarn");
        }
    }

    #[test]
    fn linear_scaling_reads_as_it_was_written() {
        let json = json!({"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 3.5}});
        let rope = parse(&json).unwrap();
        let Some(RopeScaling::Linear(linear)) = &rope.rope_scaling else {
            panic!("{rope:?}");
        };
        assert_eq!(linear.factor, 3.5);
        assert_eq!(Value::Object(entries(&rope, "type")), json);
    }

    #[test]
    fn what_is_computed_differently_is_refused() {
        let cases = [
            (
                json!({"type": "dynamic"}),
                "`rope_scaling.type` is \"dynamic\", expected default, linear, yarn",
            ),
            (json!({"rope_type": 3}), "`rope_scaling.rope_type` is 3"),
            (json!({"type": "yarn"}), "`rope_scaling.factor` is absent"),
            (
                json!({"type": "yarn", "factor": 4, "attention_factor": 0}),
                "`rope_scaling.attention_factor` is 0, expected a number above 0",
            ),
            (
                json!({"type": "yarn", "factor": 4, "truncate": false}),
                "`rope_scaling.truncate` is false, expected true",
            ),
            (
                json!({"partial_rotary_factor": 0.25}),
                "`rope_scaling.partial_rotary_factor` is 0.25",
            ),
            (
                json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1}),
                "`rope_scaling.high_freq_factor` is absent",
            ),
            (json!([]), "`rope_scaling` is [], expected an object"),
        ];
        for (section, message) in cases {
            let error = parse(&json!({"rope_scaling": section})).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
