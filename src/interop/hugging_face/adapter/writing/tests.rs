//! Adapters that are written and read again change the base into the merged model.

use burn::tensor::TensorData;
use darkhorse_backends::select::Selected;

use super::*;
use crate::interop::{ForeignModel, OutgoingOptions};
use crate::model::weights::{self, InMemory, Merged};
use crate::model::{CausalLm, lora};

fn lora(targets: &[&str], train: &[&str]) -> LoraConfig {
    let owned = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect();
    LoraConfig {
        targets: owned(targets),
        train: owned(train),
        ..LoraConfig::of_rank(3)
    }
}

/// The weights of an adapted model, with numbers in every `B` and in what is trained whole.
fn trained(model: &ForeignModel, lora: &LoraConfig) -> InMemory {
    let config = &model.config.model;
    let module = CausalLm::<Selected>::init(config, 0, &Default::default());
    let module = weights::load(module, model.weights.as_ref()).unwrap();
    let module = lora::adapt(module, (config, lora), 1).unwrap();
    let tensors = weights::collect(&module).into_iter().map(|tensor| {
        let name = tensor.name.clone();
        let data = tensor.read().unwrap();
        let is_b = name.ends_with(".lora_b");
        let is_whole = lora.trains_whole(&name) && !name.contains("bias");
        if !is_b && !is_whole {
            return (name, data);
        }
        let changed = data.iter::<f32>().enumerate();
        let changed = changed.map(|(at, value)| value + ((at * 37 % 19) as f32 - 9.0) / 50.0);
        let shape = data.shape.to_vec();
        (name, TensorData::new(changed.collect::<Vec<_>>(), shape))
    });
    InMemory::new("run", tensors)
}

fn write(fixture: &str, lora: &LoraConfig, target: &Path) -> Result<Merged, InteropError> {
    let path = Path::new("tests/fixtures").join(fixture);
    let base = ForeignModel::open(&path)?;
    let merged = Merged::new(Box::new(trained(&base, lora)), lora.scale());
    let outgoing = Outgoing::new(&merged, &base.config, OutgoingOptions::default())?;
    let adapters = Adapters {
        config: &base.config,
        lora,
        merged: &outgoing,
    };
    adapters.write(target, &trained(&base, lora))?;
    Ok(merged)
}

#[test]
fn the_base_with_the_written_adapter_is_the_merged_model() {
    let cases = [
        ("llama_tied", lora(&["all"], &["norms"])),
        ("llama_llama3rope", lora(&["q_proj", "lm_head"], &[])),
        ("mixtral", lora(&["all"], &["routers"])),
        ("mixtral", lora(&["experts.up_proj"], &[])),
        ("qwen3_moe", lora(&["experts"], &[])),
        ("qwen3_next", lora(&["all"], &[])),
        ("deepseek_v3_plain", lora(&["all"], &[])),
        ("glm4_moe", lora(&["attention", "down_proj"], &[])),
    ];
    for (fixture, lora) in cases {
        let folder = tempfile::tempdir().unwrap();
        let adapter = folder.path().join("adapter");
        let merged = write(fixture, &lora, &adapter).unwrap();
        let path = Path::new("tests/fixtures").join(fixture);
        let plain = ForeignModel::open(&path).unwrap();
        let read = ForeignModel::open_with(&path, Some(&adapter)).unwrap();
        let mut moved = 0;
        for name in merged.names() {
            let values = |source: &dyn WeightSource| -> Vec<f32> {
                source.data(&name).unwrap().iter::<f32>().collect()
            };
            let [found, expected] = [values(read.weights.as_ref()), values(&merged)];
            assert_eq!(found.len(), expected.len(), "{fixture}: {name}");
            for (found, expected) in found.iter().zip(&expected) {
                let apart = (found - expected).abs();
                assert!(apart < 1e-5, "{fixture}: {name}: {found} {expected}");
            }
            moved += usize::from(values(plain.weights.as_ref()) != expected);
        }
        assert!(moved > 0, "{fixture}: {lora:?}");
    }
}

#[test]
fn names_ranks_and_targets_are_those_of_peft() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    write("mixtral", &lora(&["q_proj", "experts"], &[]), &adapter).unwrap();
    let config = std::fs::read(adapter.join(CONFIG)).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    for (key, expected) in [
        ("r", json!(3)),
        ("lora_alpha", json!(6)),
        ("target_modules", json!(["q_proj"])),
        (
            "target_parameters",
            json!(["experts.gate_up_proj", "experts.down_proj"]),
        ),
        ("rank_pattern", json!({"gate_up_proj": 6})),
        ("alpha_pattern", json!({"gate_up_proj": 12})),
        ("modules_to_save", json!(null)),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    let own = std::fs::read(adapter.join(WEIGHTS)).unwrap();
    let theirs = std::fs::read("tests/fixtures/adapter_mixtral/adapter_model.safetensors").unwrap();
    let shapes = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let named = file.tensors().into_iter();
        let mut named: Vec<_> = named
            .map(|(name, tensor)| (name, tensor.shape().to_vec()))
            .collect();
        named.sort();
        named
    };
    // theirs has rank 2
    let expected = shapes(&theirs).into_iter().map(|(name, mut shape)| {
        let at = usize::from(name.contains("lora_B"));
        shape[at] = shape[at] / 2 * 3;
        (name, shape)
    });
    assert_eq!(shapes(&own), expected.collect::<Vec<_>>());
}

#[test]
fn only_some_of_the_modules_of_one_name_are_named_whole() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    let some = lora(&["layers.1.mixer.q_proj"], &["norm.weight"]);
    write("llama_tied", &some, &adapter).unwrap();
    let config = std::fs::read(adapter.join(CONFIG)).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let expected = json!(["model.layers.1.self_attn.q_proj"]);
    assert_eq!(config["target_modules"], expected);
    assert_eq!(config["modules_to_save"], json!(["model.norm"]));
}

#[test]
fn a_trained_embedding_that_is_the_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    let both = lora(&["q_proj"], &["embed_tokens"]);
    let error = write("llama_tied", &both, &adapter).map(|_| ());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("a trained embedding table, which is the head, too"),
        "{error}"
    );
    assert!(!adapter.exists());
}
