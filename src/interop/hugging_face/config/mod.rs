//! `config.json`, typed: the described model and the facts beside it.
//!
//! An absent key has the default of transformers; a value that this crate would compute differently is an error.
//! Written files are understood by transformers, vLLM, SGLang, llama.cpp and Ollama.

mod fields;
mod keys;
mod quantization;
mod rope;
mod token_ids;

use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{io, malformed};
use crate::interop::InteropError;
use crate::interop::family::{self, Family};
use crate::model::ModelConfig;
use crate::model::rope::{RopeConfig, RotaryPairs};
use crate::model::routing::domain::{DomainConfig, DomainMode};
pub(in crate::interop) use fields::Fields;
pub(in crate::interop) use keys::HeadDefaults;

pub use keys::{ConfigKeys, LATENT_NORM_EPS};
pub use quantization::Fp8Quantization;
pub use token_ids::TokenIds;

/// Configuration of a model of a supported family.
#[derive(Debug, Clone, PartialEq)]
pub struct HfConfig {
    /// Family of the model.
    pub family: &'static dyn Family,
    /// The model. Domains are off.
    pub model: ModelConfig,
    /// Which rows of latent attention the file's weights rotate as pairs.
    pub latent_pairs: RotaryPairs,
    /// Ids of the special tokens.
    pub token_ids: TokenIds,
    /// Element type of the weights.
    pub dtype: Option<Dtype>,
    /// Quantization of the weights, if there is one.
    pub quantization: Option<Fp8Quantization>,
}

impl HfConfig {
    /// Reads a `config.json` file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or those of [`parse`](Self::parse).
    pub fn open(path: &Path) -> Result<Self, InteropError> {
        let text = std::fs::read_to_string(path).map_err(io(path))?;
        Self::parse(path, &text)
    }

    /// Parses the text of a `config.json`. Errors name `path`.
    ///
    /// # Errors
    ///
    /// Text that is not JSON; the first field that is missing, of another type, or not supported, by its path; sizes
    /// for which no model can be built.
    pub fn parse(path: &Path, text: &str) -> Result<Self, InteropError> {
        let json = serde_json::from_str(text);
        let json: Value = json.map_err(|error| malformed(path, error.to_string(), "JSON"))?;
        let Value::Object(map) = json else {
            return Err(malformed(path, "no JSON object", "an object"));
        };
        Self::of_json(path, &map)
    }

    /// Reads the object of a `config.json`. Errors name `path`.
    pub(in crate::interop) fn of_json(
        path: &Path,
        map: &Map<String, Value>,
    ) -> Result<Self, InteropError> {
        let fields = Fields::new(path, map);
        let model_type = fields.text("model_type");
        let Some(family) = model_type.and_then(family::by_model_type) else {
            return Err(fields.error("model_type", family::model_types()));
        };
        let mut config = Self::unread(family);
        config.keys(&mut ConfigKeys::reading_from(fields))?;
        config.validate(path)?;
        Ok(config)
    }

    /// The default model of a family: its fixed settings, and the defaults of transformers.
    ///
    /// # Errors
    ///
    /// None, since nothing is read.
    pub(in crate::interop) fn blank(family: &'static dyn Family) -> Result<Self, InteropError> {
        let mut config = Self::unread(family);
        config.keys(&mut ConfigKeys::blank())?;
        Ok(config)
    }

    /// Refuses sizes for which no model can be built. The error names `path`.
    pub(in crate::interop) fn validate(&self, path: &Path) -> Result<(), InteropError> {
        let found = self.model.validate();
        found.map_err(|error| malformed(path, error.to_string(), "a model that can be built"))
    }

    /// The content of `config.json`, with keys in a fixed order, and RoPE under its older keys, which every engine
    /// reads.
    pub fn to_json(&self) -> Value {
        let mut keys = ConfigKeys::writing();
        // writing refuses nothing
        let _ = self.clone().keys(&mut keys);
        Value::Object(keys.into_json())
    }

    /// Properties that other engines refuse or compute differently, one line each; empty if there are none.
    pub fn engine_limits(&self) -> Vec<String> {
        self.family.limits(self)
    }

    /// A dense decoder with all sizes 0.
    pub(in crate::interop) fn unread(family: &'static dyn Family) -> Self {
        let model = ModelConfig {
            vocab_size: 0,
            hidden_size: 0,
            num_hidden_layers: 0,
            intermediate_size: 0,
            mlp_bias: false,
            first_k_dense_replace: 0,
            mlp_only_layers: Vec::new(),
            layer_types: Vec::new(),
            mixer: Default::default(),
            rope: RopeConfig {
                rope_theta: 0.0,
                rope_scaling: None,
            },
            moe: None,
            domains: DomainConfig {
                mode: DomainMode::Off,
                ..Default::default()
            },
            num_nextn_predict_layers: 0,
            max_position_embeddings: 0,
            rms_norm_eps: 0.0,
            tie_word_embeddings: false,
            quantization: None,
            initializer_range: 0.0,
            embedding_initializer_range: None,
            depth_scaled_init: true,
            norm_weight: Default::default(),
            mup: None,
            selective: None,
            ttt: None,
        };
        Self {
            family,
            model,
            latent_pairs: RotaryPairs::Neighbours,
            token_ids: TokenIds::default(),
            dtype: None,
            quantization: None,
        }
    }

    /// All keys: those of every family, with the family's own among them.
    fn keys(&mut self, keys: &mut ConfigKeys<'_>) -> Result<(), InteropError> {
        let (family, profile) = (self.family, self.family.profile());
        keys.writes("architectures", json!([profile.architecture]));
        keys.writes("model_type", profile.model_type);
        keys.writes("attention_dropout", 0.0);
        keys.token_ids(&mut self.token_ids, profile.bos_eos)?;
        let model = &mut self.model;
        keys.only("hidden_act", "silu")?;
        keys.size("vocab_size", &mut model.vocab_size)?;
        keys.size("hidden_size", &mut model.hidden_size)?;
        keys.size("intermediate_size", family.width(model))?;
        keys.size("num_hidden_layers", &mut model.num_hidden_layers)?;
        let context = profile.max_position_embeddings;
        keys.size_or(
            "max_position_embeddings",
            &mut model.max_position_embeddings,
            context,
        )?;
        keys.positive_or("initializer_range", &mut model.initializer_range, 0.02)?;
        let eps = profile.rms_norm_eps;
        keys.positive_or("rms_norm_eps", &mut model.rms_norm_eps, eps)?;
        family.keys(keys, self)?;
        let model = &mut self.model;
        // DeepSeek's code has an older name than the others
        let kind = if model.mixer.mla.is_some() {
            "type"
        } else {
            "rope_type"
        };
        let context = model.max_position_embeddings;
        keys.rope(&mut model.rope, profile.rope_theta, kind, context)?;
        let is_tied = profile.tie_word_embeddings;
        keys.flag_or(
            "tie_word_embeddings",
            &mut model.tie_word_embeddings,
            is_tied,
        )?;
        keys.writes("use_cache", true);
        keys.dtype(&mut self.dtype)?;
        keys.quantization(&mut self.quantization)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::HfConfig;
    use crate::interop::hugging_face::FIXTURES;

    fn fixtures() -> Vec<PathBuf> {
        let families = [
            "deepseek_v",
            "glm4",
            "llama",
            "mistral",
            "mixtral",
            "olmoe",
            "qwen",
        ];
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
        let other = parse(r#"{"model_type": "gpt2"}"#);
        assert!(other.starts_with("c: `model_type` is \"gpt2\", expected llama, mistral, "));
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
