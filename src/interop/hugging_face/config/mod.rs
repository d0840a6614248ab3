//! `config.json`, typed: what the families that are read and written need of it.
//!
//! A key that is absent has the default of transformers; one whose value would be computed differently
//! here is an error. What is written is understood by transformers, vLLM, SGLang, llama.cpp and Ollama.

mod decoder;
mod deepseek_v3;
mod deepseek_v3_entries;
mod engine_limits;
mod fields;
mod llama;
mod mixtral;
mod quantization;
mod rope;
mod token_ids;

use std::path::Path;

use serde_json::{Map, Value};

use super::{RopeLayout, io, malformed};
use crate::interop::InteropError;
use fields::Fields;

pub use decoder::DecoderConfig;
pub use deepseek_v3::{DeepseekV3Config, LATENT_NORM_EPS};
pub use llama::LlamaConfig;
pub use mixtral::MixtralConfig;
pub use quantization::Fp8Quantization;
pub use rope::{HfRope, HfRopeScaling, LinearScaling, Llama3Scaling, YarnScaling};
pub use token_ids::TokenIds;

/// Configuration of a model of one of the supported families.
#[derive(Debug, Clone, PartialEq)]
pub enum HfConfig {
    /// `deepseek_v3`: latent attention, sigmoid-routed experts.
    DeepseekV3(DeepseekV3Config),
    /// `llama`: grouped-query attention, dense.
    Llama(LlamaConfig),
    /// `mixtral`: grouped-query attention, softmax-routed experts.
    Mixtral(MixtralConfig),
}

impl HfConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; otherwise those of [`parse`](Self::parse).
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let text = std::fs::read_to_string(path).map_err(io(path))?;
        Self::parse(path, &text)
    }

    /// Reads the text of a `config.json`. `path` is named by errors.
    ///
    /// # Errors
    ///
    /// What is not JSON; the first field that is missing, of another type, or not supported, by its path.
    pub fn parse(path: &Path, text: &str) -> Result<Self, InteropError> {
        let json = serde_json::from_str(text);
        let json: Value = json.map_err(|error| malformed(path, error.to_string(), "JSON"))?;
        let Value::Object(map) = json else {
            return Err(malformed(path, "no JSON object", "an object"));
        };
        let fields = Fields::new(path, &map);
        match fields.text("model_type") {
            Some("deepseek_v3") => DeepseekV3Config::parse(&fields).map(Self::DeepseekV3),
            Some("llama") => LlamaConfig::parse(&fields).map(Self::Llama),
            Some("mixtral") => MixtralConfig::parse(&fields).map(Self::Mixtral),
            _ => Err(fields.error("model_type", "deepseek_v3, llama or mixtral")),
        }
    }

    /// The object of a `config.json`, keys in a fixed order, with RoPE under its older keys, which every
    /// engine reads.
    pub fn to_json(&self) -> Value {
        let entries = match self {
            Self::DeepseekV3(config) => config.entries(),
            Self::Llama(config) => config.entries(),
            Self::Mixtral(config) => config.entries(),
        };
        let map = entries.into_iter().map(|(key, value)| (key.into(), value));
        Value::Object(map.collect::<Map<_, _>>())
    }

    /// What other engines would refuse or compute differently, one line each; empty if there is nothing.
    pub fn engine_limits(&self) -> Vec<String> {
        match self {
            Self::DeepseekV3(config) => engine_limits::engine_limits(config),
            Self::Llama(_) | Self::Mixtral(_) => Vec::new(),
        }
    }

    /// Layout of the rotated rows in the family's files.
    pub fn rope_layout(&self) -> RopeLayout {
        match self {
            Self::DeepseekV3(config) => config.rope_layout,
            Self::Llama(_) | Self::Mixtral(_) => RopeLayout::HalfSplit,
        }
    }

    /// What all families have.
    pub fn decoder(&self) -> &DecoderConfig {
        match self {
            Self::DeepseekV3(config) => &config.decoder,
            Self::Llama(config) => &config.decoder,
            Self::Mixtral(config) => &config.decoder,
        }
    }

    /// The same, to change it.
    pub fn decoder_mut(&mut self) -> &mut DecoderConfig {
        match self {
            Self::DeepseekV3(config) => &mut config.decoder,
            Self::Llama(config) => &mut config.decoder,
            Self::Mixtral(config) => &mut config.decoder,
        }
    }
}

/// Keys and values in the order in which they are written.
type Entries = Vec<(&'static str, Value)>;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::HfConfig;
    use crate::interop::hugging_face::FIXTURES;

    fn fixtures() -> Vec<PathBuf> {
        let families = ["deepseek_v3", "llama", "mixtral"];
        let mut folders = std::fs::read_dir(FIXTURES)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                families.iter().any(|family| name.starts_with(family))
            })
            .collect::<Vec<_>>();
        folders.sort();
        assert!(folders.len() >= 12, "{folders:?}");
        folders
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        for folder in fixtures() {
            for file in ["config.json", "config.transformers5.json"] {
                let path = folder.join(file);
                if path.is_file() {
                    let config = HfConfig::open(&path).unwrap();
                    let text = config.to_json().to_string();
                    assert_eq!(HfConfig::parse(&path, &text).unwrap(), config, "{text}");
                }
            }
        }
    }

    #[test]
    fn both_spellings_agree() {
        for folder in fixtures() {
            let newer = folder.join("config.transformers5.json");
            if newer.is_file() {
                let older = HfConfig::open(&folder.join("config.json")).unwrap();
                assert_eq!(HfConfig::open(&newer).unwrap(), older, "{newer:?}");
            }
        }
    }

    /// Whether two values are equal, whole numbers and floats alike.
    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .all(|(key, value)| right.get(key).is_some_and(|right| same(value, right)))
            }
            _ => left == right || left.is_number() && left.as_f64() == right.as_f64(),
        }
    }

    #[test]
    fn what_is_written_is_what_deepseek_releases_hold() {
        for folder in fixtures() {
            let path = folder.join("config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("\"deepseek_v3\"") {
                let mut release: Value = serde_json::from_str(&text).unwrap();
                let map = release.as_object_mut().unwrap();
                map.remove("transformers_version").unwrap();
                let written = HfConfig::open(&path).unwrap().to_json();
                assert!(same(&written, &release), "{written} {release}");
            }
        }
    }

    #[test]
    fn a_config_that_is_none_is_refused_in_one_line() {
        let parse = |text: &str| {
            HfConfig::parse(Path::new("c"), text)
                .unwrap_err()
                .to_string()
        };
        assert!(parse("{").starts_with("c: EOF while parsing"));
        assert_eq!(parse("[]"), "c: no JSON object, expected an object");
        assert_eq!(
            parse(r#"{"model_type": "gpt2"}"#),
            "c: `model_type` is \"gpt2\", expected deepseek_v3, llama or mixtral"
        );
        assert!(parse("{}").starts_with("c: `model_type` is absent"));
        let missing = HfConfig::open(Path::new("no/config.json")).unwrap_err();
        assert!(missing.to_string().starts_with("no/config.json: "));
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let path = Path::new(FIXTURES).join("deepseek_v3_yarn/config.json");
        let text = std::fs::read(&path).unwrap();
        for position in 0..text.len() {
            for flip in [0x01, 0x08, 0x10] {
                let mut bytes = text.clone();
                bytes[position] ^= flip;
                if let Ok(config) = HfConfig::parse(&path, &String::from_utf8_lossy(&bytes)) {
                    let _ = (config.to_json(), config.engine_limits());
                }
            }
            let cut = String::from_utf8_lossy(&text[..position]);
            HfConfig::parse(&path, &cut).unwrap_err();
        }
    }
}
