//! Round trips: a checkpoint is written as GGUF and read back.

use safetensors::Dtype;
use serde_json::Value;

use super::Checkpoint;
use crate::interop::TensorSource;
use crate::interop::gguf::{GgmlType, GgufCheckpoint, GgufFile, OutType};
use crate::interop::hugging_face::PerExpert;

const FAMILIES: [&str; 10] = [
    "deepseek_v3_plain",
    "deepseek_v3_yarn",
    "llama_llama3rope",
    "llama_tied",
    "mixtral",
    "glm4_moe",
    "olmoe",
    "qwen2",
    "qwen3",
    "qwen3_moe",
];

#[test]
fn f32_is_the_identity() {
    for fixture in FAMILIES {
        let source = Checkpoint::read(fixture);
        let (_folder, path) = source.written(OutType::F32);
        let restored = GgufCheckpoint::open(&path).unwrap();
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let plain = PerExpert::new(&source, "source").unwrap();
        assert_eq!(sorted(restored.names()), sorted(plain.names()), "{fixture}");
        for name in plain.names() {
            assert!(
                restored.tensor(&name).unwrap() == plain.tensor(&name).unwrap(),
                "{fixture} {name}"
            );
            assert_eq!(restored.info(&name), plain.info(&name));
        }
        let mut config = restored.config().to_json();
        if source.tokenizer.is_none() {
            // GGUF files without a tokenizer state no token ids
            let fields = config.as_object_mut().unwrap();
            fields.retain(|key, _| !key.ends_with("_token_id"));
        }
        same_config(&config, &source.config);
    }
}

/// Asserts that common fields are equal, and that fields which define the model exist on both sides.
fn same_config(restored: &Value, source: &Value) {
    let mut source = source.clone();
    if let Some(rope) = source["rope_parameters"].as_object().cloned() {
        source["rope_theta"] = rope["rope_theta"].clone();
        source["rope_scaling"] = rope.into();
    }
    if source["use_sliding_window"] == false {
        // an unused window is dropped
        let fields = source.as_object_mut().unwrap();
        fields.retain(|key, _| !["sliding_window", "max_window_layers"].contains(&&key[..]));
    }
    let model = |key: &str| {
        ![
            "transformers_version",
            "dtype",
            "rope_parameters",
            "pretraining_tp",
            "output_router_logits",
            "router_aux_loss_coef",
            "router_jitter_noise",
            "pad_token_id",
            "rope_scaling",
            "bos_token_id",
            "eos_token_id",
            "attention_bias",
        ]
        .contains(&key)
    };
    for (key, value) in source.as_object().unwrap() {
        if model(key) || restored.get(key).is_some_and(|_| key != "rope_scaling") {
            assert!(
                same(&restored[key], value),
                "{key}: {} and {value}",
                restored[key]
            );
        }
    }
    for (key, value) in restored["rope_scaling"].as_object().into_iter().flatten() {
        assert!(
            same(value, &source["rope_scaling"][key]),
            "rope_scaling.{key}"
        );
    }
    let kind = |config: &Value| {
        let scaling = &config["rope_scaling"];
        let kind = scaling["type"]
            .as_str()
            .or(scaling["rope_type"].as_str())
            .filter(|&kind| kind != "default");
        kind.map(str::to_owned)
    };
    assert_eq!(kind(restored), kind(&source));
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}

#[test]
fn sources_of_16_bits_come_back_as_they_are() {
    for (kind, dtype) in [(OutType::F16, Dtype::F16), (OutType::Bf16, Dtype::BF16)] {
        for fixture in FAMILIES {
            let mut source = Checkpoint::read(fixture);
            source.cast(kind, dtype);
            let (_folder, path) = source.written(kind);
            let restored = GgufCheckpoint::open(&path).unwrap();
            let source = PerExpert::new(&source, "source").unwrap();
            for name in source.names() {
                let (found, expected) = (
                    restored.tensor(&name).unwrap(),
                    source.tensor(&name).unwrap(),
                );
                let exact = found.shape.len() < 2 || name.ends_with(".gate.weight");
                assert_eq!(
                    found.dtype,
                    if exact { Dtype::F32 } else { dtype },
                    "{name}"
                );
                let (mut values, mut exact_values) = (Vec::new(), Vec::new());
                GgmlType::from(kind).decode(&expected.bytes, &mut exact_values);
                let stored = if exact { GgmlType::F32 } else { kind.into() };
                stored.decode(&found.bytes, &mut values);
                assert!(values == exact_values, "{fixture} {name}");
            }
        }
    }
}

#[test]
fn bf16_becomes_each_type_through_its_exact_value() {
    let mut source = Checkpoint::read("deepseek_v3_plain");
    source.cast(OutType::Bf16, Dtype::BF16);
    let expected = source
        .tensor("model.layers.0.self_attn.q_a_proj.weight")
        .unwrap();
    let mut values = Vec::new();
    GgmlType::Bf16.decode(&expected.bytes, &mut values);
    for kind in [OutType::F32, OutType::F16] {
        let (_folder, path) = source.written(kind);
        let file = GgufFile::open(&path).unwrap();
        let (tensor, found) = file.tensor("blk.0.attn_q_a.weight").unwrap();
        let mut bytes = Vec::new();
        kind.encode(&values, &mut bytes);
        assert_eq!(tensor.ggml_type, kind.into());
        assert!(found == bytes, "{kind:?}");
    }
}

#[test]
fn q8_0_keeps_what_it_must_in_f32_and_falls_back_to_f16() {
    let (_folder, path) = Checkpoint::read("llama_tied").written(OutType::Q8_0);
    let file = GgufFile::open(&path).unwrap();
    let kind = |file: &GgufFile, name: &str| file.tensor(name).unwrap().0.ggml_type;
    assert_eq!(kind(&file, "token_embd.weight"), GgmlType::Q8_0);
    assert_eq!(kind(&file, "blk.0.ffn_down.weight"), GgmlType::Q8_0);
    assert_eq!(kind(&file, "blk.0.attn_q.bias"), GgmlType::F32);
    assert_eq!(kind(&file, "blk.0.attn_norm.weight"), GgmlType::F32);
    assert!(file.tensor("output.weight").is_none());

    let (_folder, path) = Checkpoint::read("mixtral").written(OutType::Q8_0);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(kind(&file, "blk.0.ffn_gate_inp.weight"), GgmlType::F32);
    assert_eq!(kind(&file, "blk.0.ffn_gate_exps.weight"), GgmlType::F16);
}

#[test]
fn q8_0_is_read_within_half_a_step() {
    let source = Checkpoint::read("llama_tied");
    let (_folder, path) = source.written(OutType::Q8_0);
    let restored = GgufCheckpoint::open(&path).unwrap();
    for name in source.names() {
        let values = |source: &dyn TensorSource| {
            let tensor = source.tensor(&name).unwrap();
            let mut values = Vec::new();
            GgmlType::F32.decode(&tensor.bytes, &mut values);
            values
        };
        let (found, expected) = (values(&restored), values(&source));
        let step = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
        for (a, b) in found.iter().zip(&expected) {
            // The scale itself is rounded to 11 bits.
            assert!(
                (a - b).abs() <= 0.5 * step + 127.0 * step / 2048.0,
                "{name}: {a} and {b}"
            );
        }
    }
}

#[test]
fn halves_of_kv_b_with_two_types_are_read_as_f32() {
    // Keys have rows of 8 and fall back to F16, values have rows of 32 and are Q8_0.
    let mut source = Checkpoint::read("deepseek_v3_plain");
    source.config["kv_lora_rank"] = 32.into();
    for layer in 0..3 {
        let attention = format!("model.layers.{layer}.self_attn.");
        for (name, shape) in [
            ("kv_a_proj_with_mqa", &[48, 48][..]),
            ("kv_a_layernorm", &[32]),
            ("kv_b_proj", &[80, 32]),
        ] {
            let count: usize = shape.iter().product();
            let bytes = (0..count)
                .flat_map(|index| (index as f32 % 127.0).to_le_bytes())
                .collect();
            source.put(
                &format!("{attention}{name}.weight"),
                Dtype::F32,
                shape,
                bytes,
            );
        }
    }
    let (_folder, path) = source.written(OutType::Q8_0);
    let restored = GgufCheckpoint::open(&path).unwrap();
    let name = "model.layers.0.self_attn.kv_b_proj.weight";
    let tensor = restored.tensor(name).unwrap();
    assert_eq!(
        (tensor.dtype, tensor.shape.as_slice()),
        (Dtype::F32, &[80, 32][..])
    );
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    GgmlType::F32.decode(&tensor.bytes, &mut found);
    GgmlType::F32.decode(&source.tensor(name).unwrap().bytes, &mut expected);
    assert!(
        found
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 0.6)
    );
}

#[test]
fn layers_of_multi_token_prediction_are_left_out() {
    let source = Checkpoint::read("deepseek_v3_mtp");
    let layers = source.config["num_hidden_layers"].as_u64().unwrap();
    let (_folder, path) = source.written(OutType::F32);
    let restored = GgufCheckpoint::open(&path).unwrap();
    let mtp = format!("model.layers.{layers}.");
    assert!(source.names().iter().any(|name| name.starts_with(&mtp)));
    assert!(!restored.names().iter().any(|name| name.starts_with(&mtp)));
    assert_eq!(restored.config().to_json()["num_nextn_predict_layers"], 0);
}

#[test]
fn a_tied_head_that_the_source_has_is_left_out() {
    let mut source = Checkpoint::read("llama_tied");
    let embedding = source.tensor("model.embed_tokens.weight").unwrap();
    let (shape, bytes) = (embedding.shape.clone(), embedding.bytes.to_vec());
    source.put("lm_head.weight", Dtype::F32, &shape, bytes);
    let (_folder, path) = source.written(OutType::F32);
    assert!(
        GgufFile::open(&path)
            .unwrap()
            .tensor("output.weight")
            .is_none()
    );
}

#[test]
fn llama3_has_its_factors_as_a_tensor() {
    let (_folder, path) = Checkpoint::read("llama_llama3rope").written(OutType::F16);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.tensors()[0].name, "rope_freqs.weight");
    let (tensor, bytes) = file.tensor("rope_freqs.weight").unwrap();
    let mut factors = Vec::new();
    tensor.ggml_type.decode(bytes, &mut factors);
    assert_eq!(tensor.shape, [8]);
    assert_eq!(tensor.ggml_type, GgmlType::F32);
    // θ = 5e5, d = 16: wavelengths 6.3, 32.4, 167.1 and longer, against 64/4 and 64/1.
    assert_eq!(factors[0], 1.0);
    let smooth = (64.0 / (std::f64::consts::TAU * 5e5_f64.powf(0.125)) - 1.0) / 3.0;
    assert!((f64::from(factors[1]) - 1.0 / ((1.0 - smooth) / 8.0 + smooth)).abs() < 1e-6);
    assert!(factors[2..].iter().all(|&factor| factor == 8.0));
}
