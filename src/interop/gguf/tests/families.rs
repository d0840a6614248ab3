//! Families whose graphs in llama.cpp support less than transformers, or more.

use std::path::Path;

use serde_json::{Value, json};

use super::{Checkpoint, contents_of, rewrite};
use crate::interop::gguf::{GgufCheckpoint, GgufValue, OutType};

fn changed(fixture: &str, changes: &Value) -> Checkpoint {
    let mut checkpoint = Checkpoint::read(fixture);
    for (key, value) in changes.as_object().unwrap() {
        checkpoint.config[key] = value.clone();
    }
    checkpoint
}

#[test]
fn what_their_graphs_compute_otherwise_is_not_written() {
    let cases = [
        (
            "qwen3_moe_sparse",
            json!({}),
            "`first_k_dense_replace` is 1, expected 0, which llama.cpp computes in `qwen3moe`",
        ),
        (
            "qwen3_moe",
            json!({"norm_topk_prob": false}),
            "`moe.router.norm_topk_prob` is false, expected true, which llama.cpp computes in `qwen3moe`",
        ),
        (
            "qwen3",
            json!({"attention_bias": true}),
            "`mixer.gqa.attention_bias` is true, expected false, which llama.cpp computes in `qwen3`",
        ),
        (
            "olmoe",
            json!({"clip_qkv": 3.0}),
            "`mixer.gqa.clip_qkv` is 3.0, expected null, which llama.cpp computes in `olmoe`",
        ),
        (
            "olmoe_clip",
            json!({"clip_qkv": null, "norm_topk_prob": false}),
            "`mixer.gqa.num_key_value_heads` is 2, expected 4",
        ),
        (
            "deepseek_v2_groups",
            json!({}),
            "`moe.router.n_group` is 4, expected 1, which llama.cpp computes in `deepseek2`",
        ),
        ("mistral_window", json!({}), "`sliding_window` is set"),
    ];
    for (fixture, changes, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.gguf");
        let written = changed(fixture, &changes).write(OutType::F32, &target);
        let error = written.unwrap_err().to_string();
        assert!(error.contains(message), "{fixture}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!target.exists());
    }
}

fn model_type(path: &Path) -> Value {
    let restored = GgufCheckpoint::open(path).unwrap();
    restored.config().to_json()["model_type"].clone()
}

#[test]
fn a_deepseek_v2_is_told_from_a_v3_and_its_groups_are_refused() {
    let greedy = json!({"topk_method": "greedy"});
    let greedy = changed("deepseek_v2_groups", &greedy);
    let (folder, path) = greedy.written(OutType::F32);
    let restored = GgufCheckpoint::open(&path).unwrap();
    assert_eq!(restored.config().model, greedy.config().unwrap().model);
    assert_eq!(model_type(&path), "deepseek_v2");
    let (_folder, v3) = Checkpoint::read("deepseek_v3_plain").written(OutType::F32);
    assert_eq!(model_type(&v3), "deepseek_v3");

    let (mut keys, tensors) = contents_of(&path);
    let groups = ("deepseek2.expert_group_count".to_owned(), GgufValue::U32(4));
    keys.push(groups);
    let grouped = folder.path().join("grouped.gguf");
    rewrite(&grouped, &keys, &tensors);
    let error = GgufCheckpoint::open(&grouped).unwrap_err().to_string();
    assert!(
        error.contains("`deepseek2.expert_group_count` is 4, expected 1: llama.cpp ranks groups"),
        "{error}"
    );
}

/// Treats the last of the fixture's two layers as a multi-token prediction module.
#[test]
fn modules_of_multi_token_prediction_are_left_out_of_what_is_read() {
    let source = Checkpoint::read("glm4_moe");
    let (folder, path) = source.written(OutType::F32);
    let (mut keys, tensors) = contents_of(&path);
    let put = |keys: &mut Vec<(String, GgufValue)>, count: u32| {
        let key = "glm4moe.nextn_predict_layers";
        keys.retain(|(name, _)| name != key);
        keys.push((key.to_owned(), GgufValue::U32(count)));
    };
    put(&mut keys, 1);
    let with_module = folder.path().join("module.gguf");
    rewrite(&with_module, &keys, &tensors);
    let restored = GgufCheckpoint::open(&with_module).unwrap();
    assert_eq!(restored.config().model.num_hidden_layers, 1);
    let names = crate::interop::TensorSource::names(&restored);
    assert!(names.iter().any(|name| name.starts_with("model.layers.0.")));
    assert!(!names.iter().any(|name| name.contains(".1.")), "{names:?}");
    put(&mut keys, 3);
    rewrite(&with_module, &keys, &tensors);
    let error = GgufCheckpoint::open(&with_module).unwrap_err().to_string();
    assert!(
        error.contains("`glm4moe.nextn_predict_layers` is 3, expected no more than the 2 blocks"),
        "{error}"
    );
}
