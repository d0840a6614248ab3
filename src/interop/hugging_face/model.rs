//! A model folder as a model wants it: typed configuration, plain weights, one spelling.

use std::path::PathBuf;

use super::{Dequantized, HfConfig, HfFolder, PerExpert};
use crate::interop::{InteropError, TensorSource};

/// A model folder that was opened for reading.
#[derive(Debug)]
pub struct HfModel {
    /// Its configuration.
    pub config: HfConfig,
    /// Its weights: dequantized, every routed expert by itself under DeepSeek's names. The layout of
    /// rotated rows is still the file's, see [`HfConfig::rope_layout`].
    pub tensors: PerExpert<Dequantized<HfFolder>>,
}

impl HfModel {
    /// Opens a folder or a file.
    ///
    /// # Errors
    ///
    /// Those of [`HfFolder::open`], [`HfConfig::open`], [`Dequantized::new`] and [`PerExpert::new`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, InteropError> {
        let path = path.into();
        let folder = HfFolder::open(&path)?;
        let config = folder.config()?;
        let plain = Dequantized::new(folder, &path, config.decoder().quantization)?;
        Ok(Self {
            config,
            tensors: PerExpert::new(plain, &path)?,
        })
    }

    /// The folder itself, with its tokenizer files.
    pub fn folder(&self) -> &HfFolder {
        self.tensors.get_ref().get_ref()
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
