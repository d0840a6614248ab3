//! Arguments that several commands share, with their conversion to settings.

use std::path::PathBuf;
use std::str::FromStr;

use crate::config::{Experiment, PRESETS};
use crate::domain::Domain;
use crate::inference::{SamplingConfig, Speculation, When};
use crate::model::cache::CacheConfig;
use crate::model::dtype::Dtype;
use crate::model::routing::domain::DomainMode;
use crate::model::{CausalLm, Ttt};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use darkhorse_backends::select::{self, Device, Selected};

use crate::cli::dtype::one_of;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::weights::Weights;

/// The choice of an experiment.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExperimentArgs {
    /// Preset, by its size [default: default; for commands that run a model, the newest run of any preset]
    #[arg(long, value_name = "PRESET", value_parser = PossibleValuesParser::new(PRESETS), ignore_case = true,
          conflicts_with = "model")]
    pub(crate) params: Option<String>,
    /// Experiment of your own, a JSON file as in configs/
    #[arg(long, value_name = "FILE", conflicts_with_all = ["params", "model"])]
    pub(crate) config: Option<PathBuf>,
}

impl ExperimentArgs {
    /// Name of the experiment: the file's path or the preset.
    pub(crate) fn name(&self) -> String {
        match (&self.config, &self.params) {
            (Some(file), _) => file.display().to_string(),
            (None, Some(preset)) => preset.to_lowercase(),
            (None, None) => "default".into(),
        }
    }

    /// Source of the weights if no model is named: the newest run of this experiment, or random weights.
    pub(crate) fn weights(&self, random: bool) -> Result<Weights, Failure> {
        if random {
            return Ok(Weights::Random(Box::new(self.load()?)));
        }
        let is_named = self.params.is_some() || self.config.is_some();
        Ok(Weights::Newest(is_named.then(|| self.name())))
    }

    /// Loads the experiment.
    pub(crate) fn load(&self) -> Result<Experiment, Failure> {
        match &self.config {
            Some(file) => Experiment::load(file).or_input(),
            None => Experiment::preset(&self.name()).or_input(),
        }
    }
}

/// The choice of a device.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArgs {
    /// Device of the compiled backend: cpu, cuda:1, mps, vulkan:0 [default: its best one]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceName>,
}

impl DeviceArgs {
    /// Opens the device, or the backend's default one.
    pub(crate) fn open(&self) -> Result<Device, Failure> {
        match &self.device {
            None => Ok(select::default_device()),
            Some(DeviceName { kind, index: None }) => select::device(kind).or_input(),
            Some(DeviceName {
                kind,
                index: Some(index),
            }) => select::device(&format!("{kind}:{index}")).or_input(),
        }
    }
}

/// A device as the user writes it, `kind` or `kind:index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceName {
    /// Kind of device, in lower case.
    pub(crate) kind: String,
    /// Index of the device among those of its kind, from 0.
    pub(crate) index: Option<usize>,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let (kind, index) = match name.split_once(':') {
            Some((kind, index)) => (kind, Some(index.parse().ok())),
            None => (name, None),
        };
        let is_word = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric());
        match (is_word, index) {
            (true, None | Some(Some(_))) => Ok(Self {
                kind: kind.to_ascii_lowercase(),
                index: index.flatten(),
            }),
            _ => Err("expected a kind and maybe an index, as in cpu or cuda:1".into()),
        }
    }
}

/// Settings of sampling.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Largest number of tokens to generate [default: the model's own, else 256]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Temperature, which divides the logits; 0: always the likeliest token [default: the model's own, else 0.8]
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f64>,
    /// Sample among the K likeliest tokens; 0: all [default: the model's own, else 50]
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Sample among the likeliest tokens whose probabilities sum to P; 1: all [default: the model's own, else 0.95]
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f64>,
    /// Drop tokens whose probability is below P times the highest; 0: none [default: the model's own, else 0]
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f64>,
    /// Penalty on tokens that occurred before; 1: no effect [default: the model's own, else 1]
    #[arg(long, value_name = "R")]
    pub(crate) repetition_penalty: Option<f64>,
    /// Seed of the sampling [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

impl SamplingArgs {
    /// Largest number of tokens to generate.
    pub(crate) fn max_tokens(&self, default: usize) -> usize {
        self.max_tokens.unwrap_or(default)
    }

    /// The given settings over the program's defaults.
    pub(crate) fn config(&self) -> Result<SamplingConfig, Failure> {
        self.config_over(SamplingConfig::default())
    }

    /// The given settings over `default`.
    pub(crate) fn config_over(&self, default: SamplingConfig) -> Result<SamplingConfig, Failure> {
        let config = SamplingConfig {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_k: self.top_k.unwrap_or(default.top_k),
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(default.repetition_penalty),
            seed: self.seed.unwrap_or(default.seed),
        };
        config.validate().or_input()?;
        Ok(config)
    }
}

/// Default limit on the number of generated tokens.
pub(crate) const MAX_TOKENS: usize = 256;

/// A replacement for the model's tokenizer.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenizerArgs {
    /// tokenizer.json, for a model that comes without one [default: the model's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
}

/// Whether whole sequences are adapted by test-time training.
#[derive(Debug, Clone, Args)]
pub(crate) struct TttArgs {
    /// Test-time training of whole sequences, in a model that has it
    #[arg(long, value_name = "WHETHER", default_value = "off")]
    ttt: TttSwitch,
}

/// A switch: on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TttSwitch {
    /// Blend in the adapted states, as Genesis-152M's package does when it scores a text
    On,
    /// Leave the states unchanged, as the package does when it generates
    Off,
}

impl TttArgs {
    /// Applies the setting to a model; refuses `on` for a model without test-time training.
    pub(crate) fn apply(&self, model: CausalLm<Selected>) -> Result<CausalLm<Selected>, Failure> {
        if self.ttt == TttSwitch::On && model.metacognition.is_none() {
            return Err(Failure::input(
                "the model has no test-time training: leave `--ttt on` out",
            ));
        }
        Ok(model.with_ttt(self.ttt()))
    }

    /// The setting in the model's terms.
    pub(crate) fn ttt(&self) -> Ttt {
        match self.ttt {
            TttSwitch::On => Ttt::On,
            TttSwitch::Off => Ttt::Off,
        }
    }
}

/// The domain that the model is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct DomainArgs {
    /// Domain of the text, as code or legal [default: none, the router infers it]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<Domain>,
}

/// How strongly a document's domain binds the router.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Domains {
    /// No effect
    Off,
    /// Experts of the domain are preferred
    Soft,
    /// Experts of other domains are out of reach
    Hard,
}

impl From<Domains> for DomainMode {
    fn from(domains: Domains) -> Self {
        match domains {
            Domains::Off => Self::Off,
            Domains::Soft => Self::Soft,
            Domains::Hard => Self::Hard,
        }
    }
}

/// Parses an amount of memory, such as `12GB` or `80GiB`, to bytes.
pub(crate) fn memory_bytes(amount: &str) -> Result<u64, String> {
    let amount = amount.trim();
    let end = amount.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (number, unit) = amount.split_at(end.unwrap_or(amount.len()));
    let unit_bytes = match unit.trim().to_ascii_lowercase().as_str() {
        "mb" | "m" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        "mib" => f64::powi(2.0, 20),
        "gib" => f64::powi(2.0, 30),
        "tib" => f64::powi(2.0, 40),
        _ => {
            return Err(
                "expected a number and a unit (MB, GB, TB, MiB, GiB, TiB), as in 12GB".into(),
            );
        }
    };
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 => Ok((number * unit_bytes) as u64),
        _ => Err("expected a positive number before the unit, as in 12GB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_a_unit() {
        assert_eq!(memory_bytes("12GB"), Ok(12_000_000_000));
        assert_eq!(memory_bytes("1.5 gib"), Ok(3 << 29));
        for wrong in ["12", "GB", "-1GB", "0GB", "12XB", ""] {
            assert!(memory_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_have_a_kind_and_maybe_an_index() {
        let device = "CUDA:1".parse::<DeviceName>().unwrap();
        assert_eq!((device.kind.as_str(), device.index), ("cuda", Some(1)));
        assert_eq!("cpu".parse::<DeviceName>().unwrap().index, None);
        for wrong in ["", ":1", "cuda:", "cuda:x", "a b"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}

/// Settings of speculative decoding.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpeculationArgs {
    /// Let the MTP modules draft tokens for the model to verify, where that is faster; the text stays the same
    #[arg(long)]
    speculative: bool,
    /// Largest number of tokens to draft at a time
    #[arg(long, value_name = "N", default_value_t = 1, requires = "speculative",
          value_parser = clap::value_parser!(u8).range(1..=15))]
    draft_tokens: u8,
    /// Draft before every token, even where that is slower; only unlikely drafts are left out
    #[arg(long, requires = "speculative")]
    always_draft: bool,
}

impl SpeculationArgs {
    /// The settings of speculative decoding; `None` if it is off.
    pub(crate) fn config(&self) -> Option<Speculation> {
        self.speculative.then(|| Speculation {
            depth: self.draft_tokens.into(),
            when: if self.always_draft {
                When::Always
            } else {
                When::ItPays
            },
            ..Speculation::default()
        })
    }
}

/// Element type of the weights in memory.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WeightsArgs {
    /// Hold projections and experts in 16 bits, or round them to blocks of 8 or 4 bits, while loading [default: blocks
    /// of a run as they are stored, anything else in f32]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(&[Dtype::Bf16, Dtype::Q8, Dtype::Q4]))]
    weights: Option<Dtype>,
}

impl WeightsArgs {
    /// The requested format, if any.
    pub(crate) fn held(self) -> Option<Dtype> {
        self.weights
    }
}

/// Element type of the cached keys, values and latents.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct CacheArgs {
    /// Element type of the cache [default: that of the model's computation]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(&[Dtype::F32, Dtype::Bf16, Dtype::F16, Dtype::Q8]))]
    cache_dtype: Option<Dtype>,
}

impl CacheArgs {
    /// Layout of the cache.
    pub(crate) fn config(self) -> CacheConfig {
        CacheConfig {
            format: self.cache_dtype.and_then(Dtype::page),
            ..CacheConfig::default()
        }
    }

    /// The requested element type, if one was given.
    pub(crate) fn dtype(self) -> Option<Dtype> {
        self.cache_dtype
    }
}
