//! Fields that requests for completions and for chats have in common.

use std::str::FromStr;

use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, wrong};
use super::state::Ready;
use crate::domain::Domain;
use crate::inference::{Recording, SamplingConfig, Speculation};

/// Largest number of answers to one prompt.
const MOST_ANSWERS: usize = 128;
/// Largest number of stop strings, and of bytes in one.
const MOST_STOPS: usize = 64;
const LONGEST_STOP: usize = 4096;
/// Largest number of drafted tokens.
const MOST_DRAFTS: usize = 15;
/// Largest number of likeliest tokens to report.
pub(super) const MOST_LIKELY: usize = 20;

/// How to generate.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) answers: usize,
    pub(super) sampling: SamplingConfig,
    pub(super) stops: Vec<String>,
    /// Whether ids that end texts do not end this one.
    pub(super) ignores_end: bool,
    pub(super) domain: Option<Domain>,
    pub(super) speculation: Option<Speculation>,
    pub(super) routes: Recording,
    pub(super) streams: bool,
    /// Whether a stream ends with the number of tokens.
    pub(super) tells_usage: bool,
}

impl Options {
    /// Reads the fields.
    pub(super) fn read(fields: &mut Fields, ready: &Ready) -> Result<Self, ApiError> {
        fields.only_model(&ready.name)?;
        let answers = fields.count("n", 1..=MOST_ANSWERS)?.unwrap_or(1);
        refuse_unsupported(fields, answers)?;
        fields.only("top_k_experts", |it| ready.routes_to(it))?;
        let streams = fields.flag("stream")?.unwrap_or(false);
        let stream_options = fields.object("stream_options")?;
        let mut tells_usage = false;
        if let Some(mut options) = stream_options {
            if !streams {
                return Err(ApiError::field(
                    "stream_options",
                    "`stream_options` is for streams: set `stream` to true or leave it out",
                ));
            }
            tells_usage = options.flag("include_usage")?.unwrap_or(false);
            options.flag("include_obfuscation")?;
            options.flag("continuous_usage_stats")?;
            options.end()?;
        }
        let traces = fields.flag("trace")?.unwrap_or(false);
        if traces && !ready.has_experts {
            return Err(ApiError::field(
                "trace",
                "`trace` needs a model with experts: this one is dense",
            ));
        }
        Ok(Self {
            answers,
            sampling: sampling(fields, &ready.sampling)?,
            stops: stops(fields, "stop")?,
            ignores_end: fields.flag("ignore_eos")?.unwrap_or(false),
            domain: domain(fields)?,
            speculation: speculation(fields, ready)?,
            routes: if traces {
                Recording::Whole
            } else {
                Recording::Off
            },
            streams,
            tells_usage,
        })
    }

    /// Sampling of one of the answers. The first one has the seed of the request.
    pub(super) fn sampling(&self, answer: usize) -> SamplingConfig {
        let shift = (answer as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        SamplingConfig {
            seed: self.sampling.seed.wrapping_add(shift),
            ..self.sampling.clone()
        }
    }
}

/// Refuses fields that OpenAI knows, that are not supported, and that ask for something.
fn refuse_unsupported(fields: &mut Fields, answers: usize) -> Result<(), ApiError> {
    let is_zero = |it: &Value| it.as_f64() == Some(0.0);
    fields.only("presence_penalty", is_zero)?;
    fields.only("frequency_penalty", is_zero)?;
    fields.only("logit_bias", |it| {
        it.as_object().is_some_and(|it| it.is_empty())
    })?;
    fields.only("best_of", |it| it.as_u64() == Some(answers as u64))?;
    fields.only("suffix", |it| it == "")
}

fn sampling(fields: &mut Fields, default: &SamplingConfig) -> Result<SamplingConfig, ApiError> {
    let temperature = fields.number("temperature", 0.0..=100.0)?;
    let top_p = fields.number("top_p", 0.0..=1.0)?;
    let min_p = fields.number("min_p", 0.0..=1.0)?;
    let penalty = fields.number("repetition_penalty", 1e-6..=1e6)?;
    // -1 is vLLM's way to say all
    let top_k = match fields.take("top_k") {
        Some(all) if all.as_i64() == Some(-1) => Some(0),
        Some(value) => {
            let k = value.as_u64().and_then(|k| usize::try_from(k).ok());
            Some(k.ok_or_else(|| wrong("top_k", &value, "a whole number, 0 or more"))?)
        }
        None => None,
    };
    let sampling = SamplingConfig {
        temperature: temperature.unwrap_or(default.temperature),
        top_k: top_k.unwrap_or(default.top_k),
        top_p: top_p.unwrap_or(default.top_p),
        min_p: min_p.unwrap_or(default.min_p),
        repetition_penalty: penalty.unwrap_or(default.repetition_penalty),
        seed: fields.seed()?.unwrap_or_else(rand::random),
    };
    let checked = sampling.validate();
    checked.map_err(|error| ApiError::field(error.field, error.to_string()))?;
    Ok(sampling)
}

/// Stop strings of a field.
pub(super) fn stops(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let stops = fields.texts(name)?;
    let refused = |message: String| Err(ApiError::field(name, message));
    if stops.len() > MOST_STOPS {
        return refused(format!(
            "`{name}` has {} strings, expected at most {MOST_STOPS}",
            stops.len()
        ));
    }
    match stops
        .iter()
        .map(String::len)
        .find(|len| !(1..=LONGEST_STOP).contains(len))
    {
        Some(len) => refused(format!(
            "`{name}` has a string of {len} bytes, expected 1 to {LONGEST_STOP}"
        )),
        None => Ok(stops),
    }
}

fn domain(fields: &mut Fields) -> Result<Option<Domain>, ApiError> {
    let name = fields.text("domain")?;
    let domain = name.map(|name| Domain::from_str(&name)).transpose();
    domain.map_err(|error| {
        let mut error = error;
        error.found = super::error::shortened(&error.found);
        ApiError::field("domain", error.to_string())
    })
}

/// `speculative` is true, false, or the number of tokens to draft.
fn speculation(fields: &mut Fields, ready: &Ready) -> Result<Option<Speculation>, ApiError> {
    let default = ready.speculation;
    let wanted = match fields.take("speculative") {
        None => ready.speculates.then_some(default),
        Some(Value::Bool(wanted)) => wanted.then_some(default),
        Some(value) => {
            let depth = value.as_u64().and_then(|depth| usize::try_from(depth).ok());
            let depth = depth.filter(|depth| (1..=MOST_DRAFTS).contains(depth));
            let expected = format!("true, false or a whole number, 1 to {MOST_DRAFTS}");
            let depth = depth.ok_or_else(|| wrong("speculative", &value, expected))?;
            Some(Speculation { depth, ..default })
        }
    };
    if wanted.is_some() && !ready.can_draft {
        return Err(crate::inference::GenerationError::NoDrafter.into());
    }
    Ok(wanted)
}
