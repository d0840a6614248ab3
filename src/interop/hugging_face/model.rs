//! A model folder as a model wants it: typed configuration, plain weights, one spelling.

use std::path::{Path, PathBuf};

use super::{Adapted, Dequantized, HfConfig, HfFolder, PerExpert, Plain, adapters};
use crate::interop::{InteropError, TensorSource};

/// A model folder that was opened for reading.
#[derive(Debug)]
pub struct HfModel {
    /// Its configuration.
    pub config: HfConfig,
    /// Its weights under plain names: dequantized, every routed expert by itself under DeepSeek's names. The layout of
    /// rotated rows is still the file's, see [`HfConfig::rope_layout`].
    pub tensors: Adapted<PerExpert<Dequantized<Plain<HfFolder>>>>,
}

impl HfModel {
    /// Opens a folder or a file, with the adapter that lies beside the weights, if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`open_with`](Self::open_with).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, InteropError> {
        Self::open_with(path, None)
    }

    /// Opens a folder or a file, and applies the adapter in the folder `adapter`.
    ///
    /// # Errors
    ///
    /// Those of [`HfFolder::open`], [`HfConfig::open`], [`Plain::new`], [`Dequantized::new`], [`PerExpert::new`] and
    /// [`Adapted::new`].
    pub fn open_with(
        path: impl Into<PathBuf>,
        adapter: Option<&Path>,
    ) -> Result<Self, InteropError> {
        let path = path.into();
        let folder = HfFolder::open(&path)?;
        let mut plain = Plain::new(folder, &path)?;
        let mut config = plain.get_ref().config()?;
        let decoder = config.decoder_mut();
        decoder.tie_word_embeddings = plain.is_tied(decoder.tie_word_embeddings)?;
        let plain = Dequantized::new(plain, &path, config.decoder().quantization)?;
        let adapters = adapters(plain.get_ref().get_ref().folder(), adapter);
        let experts = PerExpert::new(plain, &path)?;
        let is_tied = config.decoder().tie_word_embeddings;
        Ok(Self {
            config,
            tensors: Adapted::new(experts, &path, is_tied, &adapters)?,
        })
    }

    /// The folder itself, with its tokenizer files.
    pub fn folder(&self) -> &HfFolder {
        let plain = self.tensors.get_ref().get_ref().get_ref();
        plain.get_ref()
    }

    /// Whether the file holds a head of its own; otherwise the head is the embedding table.
    pub fn has_head(&self) -> bool {
        self.tensors.info("lm_head.weight").is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::HfModel;
    use crate::interop::TensorSource;
    use crate::interop::hugging_face::{FIXTURES, Fp8Quantization, HfConfig};

    #[test]
    fn experts_of_both_families_have_one_name() {
        for fixture in ["mixtral", "deepseek_v3_allmoe_top1"] {
            let model = HfModel::open(Path::new(FIXTURES).join(fixture)).unwrap();
            for projection in ["gate_proj", "up_proj", "down_proj"] {
                let name = format!("model.layers.0.mlp.experts.3.{projection}.weight");
                model.tensors.tensor(&name).unwrap();
            }
            assert!(model.has_head());
            assert!(model.folder().file("config.json").is_some());
        }
        let tied = HfModel::open(Path::new(FIXTURES).join("llama_tied")).unwrap();
        assert!(!tied.has_head());
        assert!(matches!(tied.config, HfConfig::Llama(_)));
    }

    #[test]
    fn quantized_weights_are_plain_if_the_configuration_says_so() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let fixtures = Path::new(FIXTURES);
        let weights = fixtures.join("fp8_block/model.safetensors");
        std::fs::copy(weights, folder.join("model.safetensors")).unwrap();
        let mut config = HfConfig::open(&fixtures.join("llama_tied/config.json")).unwrap();
        for quantized in [true, false] {
            config.decoder_mut().quantization = quantized.then_some(Fp8Quantization {
                weight_block_size: [128, 128],
            });
            let text = config.to_json().to_string();
            std::fs::write(folder.join("config.json"), text).unwrap();
            let model = HfModel::open(folder).unwrap();
            assert_eq!(model.config, config);
            assert_eq!(model.tensors.names().len(), if quantized { 1 } else { 2 });
        }
    }

    #[test]
    fn a_folder_without_a_known_family_is_refused() {
        let error = HfModel::open(Path::new(FIXTURES).join("qwen3_next")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("`model_type` is \"qwen3_next\""), "{error}");
    }
}
