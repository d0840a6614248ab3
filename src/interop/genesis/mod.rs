//! Checkpoints of the published Genesis-152M package: a safetensors file with its configuration in the metadata.

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

/// Metadata key of the configuration.
pub const CONFIG_KEY: &str = "genesis_config_json";

/// The family of the package's models. The table of families lacks it, since its models have no `config.json`.
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

    /// No keys: the configuration is in the metadata of the weights' file, see [`GenesisConfig`].
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

/// The configuration of a model in the form that readers and writers share.
fn described(model: ModelConfig) -> HfConfig {
    HfConfig {
        model,
        ..HfConfig::unread(&Genesis)
    }
}

/// Whether a safetensors file is of this family, judged by its metadata and its tensors' names.
pub(super) fn is_checkpoint(file: &HfFolder) -> bool {
    let has = |name: &&str| file.info(name).is_some();
    file.metadata(CONFIG_KEY).is_some() || names::PARTS.iter().any(has)
}

/// Opens a checkpoint and the `tokenizer.json` beside it, if there is one.
///
/// # Errors
///
/// An adapter was given; the file is incomplete or unsupported.
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
