//! Checkpoints without a GGUF form are refused in one line, before a file is created.

use std::fs;

use safetensors::Dtype;
use serde_json::{Value, json};

use super::Checkpoint;
use crate::interop::gguf::OutType;

/// The one-line error of writing a checkpoint, which must leave no file.
fn refusal(checkpoint: &Checkpoint) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = checkpoint
        .write(OutType::F32, &folder.path().join("model.gguf"))
        .unwrap_err()
        .to_string();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn configurations_that_llama_cpp_does_not_have() {
    let yarn = json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64});
    let mut with_mscale = yarn.clone();
    with_mscale["mscale"] = 1.0.into();
    with_mscale["mscale_all_dim"] = 1.0.into();
    let cases: [(&str, &str, Value, &str); 17] = [
        (
            "deepseek_v3_plain",
            "rope_parameters",
            yarn,
            "`mscale_all_dim` is missing, expected a number, without which llama.cpp scales the softmax",
        ),
        (
            "llama_tied",
            "rope_parameters",
            with_mscale,
            "`mscale_all_dim` is 1, expected none",
        ),
        (
            "deepseek_v3_plain",
            "rms_norm_eps",
            json!(1e-5),
            "`rms_norm_eps` is 0.00001, expected 1e-6, which the norms of the latents have",
        ),
        (
            "deepseek_v3_plain",
            "model_type",
            json!("gpt2"),
            "`model_type` is \"gpt2\", expected llama, mistral, ",
        ),
        (
            "deepseek_v3_plain",
            "hidden_size",
            json!(0),
            "`hidden_size` is 0, expected a whole number from 1",
        ),
        (
            "deepseek_v3_plain",
            "kv_lora_rank",
            Value::Null,
            "`kv_lora_rank` is null, expected a whole number from 1",
        ),
        (
            "deepseek_v3_plain",
            "topk_group",
            json!(5),
            "`topk_group` is 5, expected 1 to n_group (4)",
        ),
        (
            "deepseek_v3_plain",
            "n_group",
            json!(3),
            "`n_group` is 3, expected groups of equal size, 2 or more, of 16 experts",
        ),
        (
            "deepseek_v3_plain",
            "n_shared_experts",
            json!(0),
            "`n_shared_experts` is 0, expected 1",
        ),
        (
            "deepseek_v3_plain",
            "scoring_func",
            json!("tanh"),
            "`scoring_func` is \"tanh\", expected \"sigmoid\"",
        ),
        (
            "deepseek_v3_plain",
            "rope_interleave",
            json!(false),
            "`rope_interleave` is false, expected true",
        ),
        (
            "deepseek_v3_plain",
            "rms_norm_eps",
            json!("1e-6"),
            "`rms_norm_eps` is \"1e-6\", expected a number",
        ),
        (
            "deepseek_v3_noqlora",
            "tie_word_embeddings",
            json!(false),
            "`q_lora_rank` is null, expected a rank",
        ),
        (
            "deepseek_v3_stress",
            "tie_word_embeddings",
            json!(false),
            "`mscale` is 0.707, expected `mscale_all_dim`",
        ),
        (
            "mixtral",
            "sliding_window",
            json!(64),
            "`sliding_window` is set, expected null",
        ),
        (
            "llama_tied",
            "head_dim",
            json!(7),
            "`head_dim` is 7, expected an even number",
        ),
        (
            "llama_tied",
            "rope_parameters",
            json!({"rope_type": "dynamic"}),
            "`rope_parameters.rope_type` is \"dynamic\"",
        ),
    ];
    for (fixture, field, value, expected) in cases {
        let mut checkpoint = Checkpoint::read(fixture);
        checkpoint.config[field] = value;
        let error = refusal(&checkpoint);
        assert!(
            error.contains("config.json: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn a_missing_scoring_function_is_sigmoid() {
    use crate::interop::gguf::{GgufFile, GgufValue};
    let mut checkpoint = Checkpoint::read("deepseek_v3_plain");
    checkpoint.config["scoring_func"] = Value::Null;
    let (_folder, path) = checkpoint.written(OutType::F32);
    assert_eq!(
        GgufFile::open(&path)
            .unwrap()
            .value("deepseek2.expert_gating_func"),
        Some(&GgufValue::U32(2))
    );
}

#[test]
fn tensors_that_do_not_fit_the_configuration() {
    let mut missing = Checkpoint::read("deepseek_v3_plain");
    missing.remove("model.layers.1.mlp.experts.7.up_proj.weight");
    let mut odd = Checkpoint::read("deepseek_v3_plain");
    let (kv_b, shape) = ("model.layers.0.self_attn.kv_b_proj.weight", [80, 15]);
    odd.put(kv_b, Dtype::F32, &shape, vec![0; 4 * 80 * 15]);
    let mut fp8 = Checkpoint::read("deepseek_v3_plain");
    fp8.put("model.norm.weight", Dtype::F8_E4M3, &[48], vec![0; 48]);
    let mut short = Checkpoint::read("deepseek_v3_plain");
    short.put("model.norm.weight", Dtype::F32, &[48], vec![0; 4 * 47]);
    let mut extra = Checkpoint::read("deepseek_v3_plain");
    extra.put(
        "model.layers.0.self_attn.o_proj.bias",
        Dtype::F32,
        &[48],
        vec![0; 4 * 48],
    );
    for (checkpoint, expected) in [
        (
            missing,
            "tensor `model.layers.1.mlp.experts.7.up_proj.weight` is missing",
        ),
        (
            odd,
            "tensor `model.layers.0.self_attn.kv_b_proj.weight` has shape [80, 15], expected [80, 16]",
        ),
        (
            fp8,
            "tensor `model.norm.weight` is F8_E4M3, expected F32, F16 or BF16",
        ),
        (
            short,
            "tensor `model.norm.weight` of 188 bytes, expected 48 F32 values",
        ),
        (
            extra,
            "`model.layers.0.self_attn.o_proj.bias` is a tensor without a place, expected only tensors",
        ),
    ] {
        let error = refusal(&checkpoint);
        assert!(error.contains(expected), "{error}");
    }
}
