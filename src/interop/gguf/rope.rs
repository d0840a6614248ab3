//! Rotary embedding: the fields of `config.json`, in both spellings.
//!
//! Fields: `rope_theta` with `rope_scaling` (`type` or `rope_type`), or transformers 5's `rope_parameters`.

use super::config::Config;
use super::llama3::Llama3;
use crate::interop::InteropError;

/// Base of the angles, and how they are scaled to longer texts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: Scaling,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    None,
    Linear { factor: f64 },
    Yarn(Yarn),
    Llama3(Llama3),
}

/// YaRN, <https://arxiv.org/abs/2309.00071>, with DeepSeek's `mscale_all_dim`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Yarn {
    pub(super) factor: f64,
    pub(super) original_max_position_embeddings: u32,
    /// In the order of [`YARN_NUMBERS`].
    pub(super) numbers: [Option<f64>; 2],
    pub(super) mscale_all_dim: Option<f64>,
    /// Factor on cosine and sine, if it is stated.
    pub(super) attention_factor: Option<f64>,
}

/// Optional numbers of YaRN: field of `config.json`, and end of the GGUF key.
pub(super) const YARN_NUMBERS: [(&str, &str); 2] = [
    ("beta_fast", "yarn_beta_fast"),
    ("beta_slow", "yarn_beta_slow"),
];

impl Rope {
    /// Reads both spellings. A missing base is 10000, of mixtral 1000000, as in transformers.
    pub(super) fn read(config: &Config<'_>) -> Result<Self, InteropError> {
        let scaled = config
            .object("rope_parameters")
            .or_else(|| config.object("rope_scaling"));
        let in_scaled = scaled
            .as_ref()
            .map(|fields| fields.number("rope_theta"))
            .transpose()?
            .flatten();
        let theta = match (in_scaled, config.number("rope_theta")?) {
            (Some(theta), _) | (None, Some(theta)) => theta,
            (None, None) if config.text("model_type")? == Some("mixtral") => 1e6,
            (None, None) => 1e4,
        };
        let partial = "partial_rotary_factor";
        for fields in scaled.iter().chain([config]) {
            if fields.number(partial)?.is_some_and(|factor| factor != 1.0) {
                return Err(fields.error(partial, "other than 1", "1"));
            }
        }
        let scaling = match &scaled {
            None => Scaling::None,
            Some(fields) => read_scaling(fields, config)?,
        };
        Ok(Self { theta, scaling })
    }
}

fn read_scaling(fields: &Config<'_>, config: &Config<'_>) -> Result<Scaling, InteropError> {
    let kind = match fields.text("rope_type")? {
        Some(kind) => Some(kind),
        None => fields.text("type")?,
    };
    let original = "original_max_position_embeddings";
    Ok(match kind {
        None | Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear {
            factor: fields.required_number("factor")?,
        },
        Some("yarn") => {
            let mut numbers = [None; 2];
            for (number, (field, _)) in numbers.iter_mut().zip(YARN_NUMBERS) {
                *number = fields.number(field)?;
            }
            Scaling::Yarn(Yarn {
                factor: fields.required_number("factor")?,
                original_max_position_embeddings: match fields.count(original)? {
                    Some(original) => original,
                    None => config.required_count(original)?,
                },
                numbers,
                mscale_all_dim: equal_mscales(fields)?,
                attention_factor: fields.number("attention_factor")?,
            })
        }
        Some("llama3") => Scaling::Llama3(Llama3 {
            factor: fields.required_number("factor")?,
            low_freq_factor: fields.required_number("low_freq_factor")?,
            high_freq_factor: fields.required_number("high_freq_factor")?,
            original_max_position_embeddings: fields.required_number(original)?,
        }),
        Some(other) => {
            return Err(fields.error(
                "rope_scaling.type",
                other,
                "default, linear, yarn or llama3",
            ));
        }
    })
}

/// GGUF has one key for both: llama.cpp takes `mscale` to equal `mscale_all_dim`.
fn equal_mscales(fields: &Config<'_>) -> Result<Option<f64>, InteropError> {
    let all = fields.number("mscale_all_dim")?;
    match fields.number("mscale")? {
        mscale if mscale == all => Ok(all),
        Some(mscale) => Err(fields.error(
            "mscale",
            mscale,
            "`mscale_all_dim`, the only value that GGUF can hold",
        )),
        None => Err(fields.error(
            "mscale",
            "missing",
            "`mscale_all_dim`, the only value that GGUF can hold",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn read(fields: Value) -> Result<Rope, String> {
        Rope::read(&Config::new(Path::new("config.json"), &fields))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn both_spellings_are_one() {
        let yarn = json!({"factor": 4.0, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 1.0});
        let mut old = yarn.clone();
        old["type"] = "yarn".into();
        let mut new = yarn;
        new["rope_type"] = "yarn".into();
        new["rope_theta"] = 5e5.into();
        let old = read(json!({"rope_theta": 5e5, "rope_scaling": old}));
        assert!(
            matches!(
                &old,
                Ok(Rope {
                    theta: 5e5,
                    scaling: Scaling::Yarn(_)
                })
            ),
            "{old:?}"
        );
        assert_eq!(old, read(json!({"rope_parameters": new})));
    }

    #[test]
    fn what_gguf_cannot_say_is_refused() {
        let yarn = |mscale: f64| json!({"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "mscale": mscale, "mscale_all_dim": 1.0});
        for (fields, expected) in [
            (
                json!({"rope_scaling": yarn(0.7)}),
                "`mscale` is 0.7, expected `mscale_all_dim`",
            ),
            (
                json!({"rope_scaling": {"type": "longrope"}}),
                "`rope_scaling.type` is longrope, expected default",
            ),
            (
                json!({"rope_scaling": {"type": "linear"}}),
                "`factor` is missing",
            ),
            (
                json!({"partial_rotary_factor": 0.5}),
                "`partial_rotary_factor` is other than 1",
            ),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
