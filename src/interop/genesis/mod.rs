//! Checkpoints of the published Genesis-152M package: one safetensors file that carries its configuration.

mod config;
mod names;
mod of_model;
#[cfg(test)]
mod tests;
mod writing;

use std::path::Path;

use super::entry::Entry;
use super::family::{Family, Profile};
use super::hugging_face::{ConfigKeys, HfConfig, HfFolder, Plain, malformed};
use super::{ForeignModel, ForeignTokenizer, Incoming, InteropError, Origin, TensorSource};
use crate::model::ModelConfig;
pub use config::GenesisConfig;
pub use writing::write;

/// Key of the configuration in the file's metadata.
pub const CONFIG_KEY: &str = "genesis_config_json";

/// The family of the package's models. It is not in the table of families, whose models have a `config.json`.
#[derive(Debug)]
struct Genesis;

impl Family for Genesis {
    fn profile(&self) -> Profile {
        Profile {
            name: "Genesis-152M",
            model_type: "genesis",
            architecture: "Genesis",
            max_position_embeddings: 1024,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: true,
            gguf: None,
        }
    }

    /// The configuration is in the file of the weights: [`GenesisConfig`].
    fn keys(&self, _: &mut ConfigKeys<'_>, _: &mut HfConfig) -> Result<(), InteropError> {
        Ok(())
    }

    fn entries(&self, config: &HfConfig) -> Vec<Entry> {
        names::entries(&config.model)
    }

    fn ignores(&self, name: &str) -> bool {
        names::is_derived(name)
    }
}

/// A model of the family, as readers and writers know models.
fn described(model: ModelConfig) -> HfConfig {
    HfConfig {
        model,
        ..HfConfig::unread(&Genesis)
    }
}

/// Whether a safetensors file is one of this family, by its metadata or its tensors.
pub(super) fn is_checkpoint(file: &HfFolder) -> bool {
    let has = |name: &&str| file.info(name).is_some();
    file.metadata(CONFIG_KEY).is_some() || names::PARTS.iter().any(has)
}

/// Opens a file, with the tokenizer beside it if there is one.
///
/// # Errors
///
/// What is not there, not readable or not supported, and where.
pub(super) fn open(
    file: HfFolder,
    path: &Path,
    adapter: Option<&Path>,
) -> Result<ForeignModel, InteropError> {
    if adapter.is_some() {
        let found = "a Genesis checkpoint, whose tensors have other names than an adapter's";
        let expected = "a model of Hugging Face beside `--adapter`";
        return Err(malformed(path, found, expected));
    }
    let Some(json) = file.metadata(CONFIG_KEY) else {
        let found = format!("no `{CONFIG_KEY}` in its metadata");
        let expected = "a Genesis checkpoint, whose metadata says what it is";
        return Err(malformed(path, found, expected));
    };
    let (config, unknown) = GenesisConfig::parse(path, json)?;
    let (layers, tensors) = (config.n_layer, file.names().len());
    if layers > tensors {
        return Err(InteropError::Field {
            path: path.to_path_buf(),
            field: "n_layer".into(),
            found: layers.to_string(),
            expected: format!("no more than its {tensors} tensors hold"),
        });
    }
    let model = config.model(path)?;
    let told = path.display();
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        tracing::warn!("{told}: keys without a meaning here are ignored: {keys}");
    }
    for line in config.not_done() {
        tracing::warn!("{told}: {line}");
    }
    let (is_tied, has_head) = (
        model.tie_word_embeddings,
        file.info("lm_head.weight").is_some(),
    );
    let plain = |name: &str| names::plain_name(name, is_tied, has_head);
    let tensors = Plain::renamed(file, path, plain)?;
    let config = described(model);
    let tokenizer = path.with_file_name("tokenizer.json");
    Ok(ForeignModel {
        weights: Box::new(Incoming::new(tensors, path, &config)?),
        tokenizer: Ok(tokenizer
            .is_file()
            .then_some(ForeignTokenizer::WithoutChat(tokenizer))),
        origin: Origin::default(),
        quantized: None,
        config,
    })
}
