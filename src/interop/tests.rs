//! Models of `tests/fixtures` through this module and back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::hugging_face::{Fp8Quantization, HfConfig, HfFolder, ShardedWriter};
use super::{
    Extras, ForeignModel, InteropError, Outgoing, OutgoingOptions, RawTensor, TensorInfo,
    TensorSource, hf_config,
};
use crate::model::rope::RotaryPairs;

/// Tensors in memory.
#[derive(Debug, Default)]
pub(super) struct Tensors(pub(super) BTreeMap<String, RawTensor<'static>>);

impl Tensors {
    pub(super) fn bytes(self, name: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.with(name, Dtype::U8, shape, bytes)
    }

    pub(super) fn floats(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.with(name, Dtype::F32, shape, bytes.collect())
    }

    fn with(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        let tensor = RawTensor {
            dtype,
            shape: shape.to_vec(),
            bytes: Cow::Owned(bytes),
        };
        self.0.insert(name.into(), tensor);
        self
    }
}

impl TensorSource for Tensors {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.0.get(name).map(|tensor| TensorInfo {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        })
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        Ok(self.0[name].clone())
    }
}

const FAMILIES: [&str; 23] = [
    "deepseek_v2",
    "deepseek_v2_groups",
    "deepseek_v3_allmoe_top1",
    "deepseek_v3_domain",
    "deepseek_v3_eps",
    "deepseek_v3_mtp",
    "deepseek_v3_mtp2",
    "deepseek_v3_noqlora",
    "deepseek_v3_plain",
    "deepseek_v3_stress",
    "deepseek_v3_yarn",
    "glm4_moe",
    "llama_llama3rope",
    "llama_tied",
    "mistral_window",
    "mixtral",
    "olmoe",
    "olmoe_clip",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen3_moe_sparse",
    "qwen3_next",
];

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

/// The configuration that a model read from a file is written with.
fn written_config(model: &ForeignModel, name: &str) -> HfConfig {
    let extras = Extras {
        token_ids: model.config.token_ids.clone(),
        dtype: model.config.dtype,
    };
    hf_config(&model.config.model, extras).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every tensor of `found` is that of `expected`, and there is no other.
fn assert_same(name: &str, found: &dyn TensorSource, expected: &dyn TensorSource) {
    let (mut ours, mut theirs) = (found.names(), expected.names());
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs, "{name}");
    for tensor in theirs {
        assert_eq!(
            found.info(&tensor),
            expected.info(&tensor),
            "{name}: {tensor}"
        );
        let (left, right) = (
            found.tensor(&tensor).unwrap(),
            expected.tensor(&tensor).unwrap(),
        );
        assert!(left.bytes == right.bytes, "{name}: values of {tensor}");
    }
}

#[test]
fn a_folder_through_our_names_is_the_same_folder() {
    for name in FAMILIES {
        let path = fixture(name);
        let model = ForeignModel::open(&path).unwrap();
        let config = written_config(&model, name);
        assert_eq!(config, model.config, "{name}");
        assert!(model.origin.absent_copies.is_empty(), "{name}");
        let options = OutgoingOptions::default();
        let tensors = Outgoing::new(model.weights.as_ref(), &config, options).unwrap();
        let original = HfFolder::open(&path).unwrap();
        assert_same(name, &tensors, &original);

        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let json = format!("{:#}", config.to_json()).into_bytes();
        let writer = ShardedWriter {
            max_shard_size: 50_000,
        };
        writer
            .write(&target, &tensors, &[("config.json".into(), json)])
            .unwrap();
        let copy = HfFolder::open(&target).unwrap();
        assert_same(name, &copy, &original);
        assert_eq!(copy.config().unwrap(), model.config, "{name}");
    }
}

#[test]
fn rotated_rows_in_halves_are_written_interleaved() {
    let path = fixture("deepseek_v3_halfrope");
    let model = ForeignModel::open(&path).unwrap();
    assert_eq!(model.config.latent_pairs, RotaryPairs::Halves);
    let config = written_config(&model, "halfrope");
    assert_eq!(config.latent_pairs, RotaryPairs::Neighbours);
    let options = OutgoingOptions::default();
    let tensors = Outgoing::new(model.weights.as_ref(), &config, options).unwrap();
    let twin = HfFolder::open(path.join("interleaved_twin.safetensors")).unwrap();
    for name in twin.names() {
        let (found, expected) = (tensors.tensor(&name).unwrap(), twin.tensor(&name).unwrap());
        assert!(found == expected, "{name}");
    }
}

#[test]
fn a_tensor_too_few_or_too_many_is_named() {
    let source = fixture("llama_tied");
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(source.join("config.json")).unwrap();
    let open = |text: String| {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        ForeignModel::open(folder.path()).unwrap_err()
    };
    std::fs::copy(
        source.join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();

    let three = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    let error = open(three);
    assert!(
        matches!(&error, InteropError::MissingTensor { name, .. } if name.starts_with("model.layers.2.")),
        "{error}"
    );
    let one = text.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    let error = open(one);
    assert!(
        matches!(&error, InteropError::UnexpectedTensor { name, .. } if name.starts_with("model.layers.1.")),
        "{error}"
    );
}

#[test]
fn norms_of_latents_keep_their_epsilon_or_the_model_is_not_written() {
    let mut model = ForeignModel::open(&fixture("deepseek_v3_eps")).unwrap();
    assert_eq!(model.config.model.rms_norm_eps, 1e-5);
    assert_eq!(
        model
            .config
            .model
            .mixer
            .mla
            .as_ref()
            .unwrap()
            .latent_norm_eps,
        1e-6
    );
    let limits = model.config.engine_limits().join(" ");
    assert!(limits.contains("vLLM and llama.cpp do not"), "{limits}");
    model
        .config
        .model
        .mixer
        .mla
        .as_mut()
        .unwrap()
        .latent_norm_eps = 1e-5;
    let error = hf_config(&model.config.model, Extras::default()).unwrap_err();
    assert!(error.to_string().contains("latent_norm_eps"), "{error}");
    // GGUF files state one epsilon for all norms
    let gguf = ForeignModel::open(&fixture("gguf_deepseek_v3_plain/model.gguf")).unwrap();
    let eps = gguf.config.model.mixer.mla.unwrap().latent_norm_eps;
    assert_eq!(eps, gguf.config.model.rms_norm_eps);
}

#[test]
fn quantized_weights_are_plain_if_the_configuration_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    std::fs::copy(
        fixture("fp8_block").join("model.safetensors"),
        folder.join("model.safetensors"),
    )
    .unwrap();
    let mut config = HfConfig::open(&fixture("llama_tied").join("config.json")).unwrap();
    for quantized in [true, false] {
        config.quantization = quantized.then_some(Fp8Quantization {
            weight_block_size: [128, 128],
        });
        let text = config.to_json().to_string();
        std::fs::write(folder.join("config.json"), &text).unwrap();
        let config_path = folder.join("config.json");
        let source = HfFolder::open(folder).unwrap();
        let (read, tensors) = super::open::plain(source, folder, &config_path).unwrap();
        assert_eq!(read, config);
        assert_eq!(tensors.names().len(), if quantized { 1 } else { 2 });
    }
}
