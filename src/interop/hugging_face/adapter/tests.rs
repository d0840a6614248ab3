//! Adapters of small integers, and one written by PEFT.

use std::fs;

use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::interop::tests::Tensors;

const Q: &str = "model.layers.0.self_attn.q_proj";
const HOST: &str = "base_model.model.";

/// The folder of an adapter with these tensors, filled with small integers from 1.
fn adapter(config: &Value, tensors: &[(String, [usize; 2])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, [rows, columns])| {
            let values = (0..rows * columns).map(|it| (it + 1) as f32);
            values.flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap();
        (name, view)
    });
    safetensors::serialize_to_file(views, None, &folder.path().join(WEIGHTS)).unwrap();
    folder
}

fn lora(changes: Value) -> Value {
    let mut config = json!({"peft_type": "LORA", "lora_alpha": 4, "r": 2, "bias": "none",
        "init_lora_weights": true, "use_dora": false, "target_parameters": null, "alpha_pattern": {}});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn pair(module: &str) -> Vec<(String, [usize; 2])> {
    vec![
        (format!("{HOST}{module}.lora_A.weight"), [2, 3]),
        (format!("{HOST}{module}.lora_B.weight"), [2, 2]),
    ]
}

/// A model with a `[2, 3]` matrix, an equal expert, an embedding and a norm, all zero.
fn base() -> Tensors {
    let mut base = Tensors::default();
    for name in [Q, "model.layers.0.mlp.experts.1.up_proj", "lm_head"] {
        base = base.floats(&format!("{name}.weight"), &[2, 3], &[0.0; 6]);
    }
    base.floats("model.embed_tokens.weight", &[4, 3], &[0.0; 12])
}

fn applied(folder: &Path, is_tied: bool) -> Result<Adapted<Tensors>, String> {
    let folders = [folder.to_path_buf()];
    Adapted::new(base(), "base", is_tied, &folders).map_err(|error| error.to_string())
}

fn values(source: &Adapted<Tensors>, name: &str) -> Vec<f32> {
    floats(&source.tensor(name).unwrap()).unwrap()
}

#[test]
fn a_product_is_added_by_the_factor_that_the_configuration_states() {
    // [1 2; 3 4] [1 2 3; 4 5 6]
    let product = [9.0, 12.0, 15.0, 19.0, 26.0, 33.0];
    let cases = [
        (json!({}), 2.0),
        (json!({"lora_alpha": 1}), 0.5),
        (json!({"use_rslora": true}), 4.0 / 2f64.sqrt()),
        (json!({"alpha_pattern": {"q_proj": 2}}), 1.0),
        (json!({"alpha_pattern": {r".*\.q_proj": 2}}), 1.0),
        (json!({"alpha_pattern": {"proj": 2, "k_proj": 8}}), 2.0),
        (
            json!({"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 6}}),
            3.0,
        ),
    ];
    for (changes, factor) in cases {
        let folder = adapter(&lora(changes.clone()), &pair(Q));
        let adapted = applied(folder.path(), true).unwrap();
        let found = values(&adapted, &format!("{Q}.weight"));
        let expected = product.map(|it| (it * factor) as f32);
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{changes}: {found} {expected}"
            );
        }
        assert_eq!(values(&adapted, "lm_head.weight"), [0.0; 6]);
    }
}

#[test]
fn experts_embeddings_and_whole_tensors_are_found_by_any_spelling() {
    let expert = pair("model.layers.0.block_sparse_moe.experts.1.w3");
    let folder = adapter(&lora(json!({})), &expert);
    let adapted = applied(folder.path(), false).unwrap();
    let name = "model.layers.0.mlp.experts.1.up_proj.weight";
    assert_eq!(values(&adapted, name)[0], 18.0);

    let table = format!("{HOST}model.embed_tokens.lora_embedding_");
    let table = [(format!("{table}A"), [2, 4]), (format!("{table}B"), [3, 2])];
    let folder = adapter(&lora(json!({})), &table);
    let adapted = applied(folder.path(), false).unwrap();
    // token 1: 2 (2 [1 3 5] + 6 [2 4 6])
    let found = values(&adapted, "model.embed_tokens.weight");
    assert_eq!(found[3..6], [28.0, 60.0, 92.0]);

    let mut both = pair(Q);
    both.push((format!("{HOST}lm_head.weight"), [2, 3]));
    let folder = adapter(&lora(json!({})), &both);
    let adapted = applied(folder.path(), false).unwrap();
    assert_eq!(
        values(&adapted, "lm_head.weight"),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
}

#[test]
fn what_is_not_computed_here_is_refused_by_name() {
    let config = |changes| (lora(changes), pair(Q), false);
    let mut half = pair(Q);
    half.pop();
    let mut uneven = pair(Q);
    uneven[1].1 = [2, 3];
    let mut tall = pair(Q);
    tall[1].1 = [3, 2];
    // invalid for fused experts
    let fused = pair("model.layers.0.mlp.experts");
    let dora = vec![(format!("{HOST}{Q}.lora_magnitude_vector"), [1, 2])];
    let cases = [
        (
            config(json!({"peft_type": "IA3"})),
            "`peft_type` is \"IA3\"",
        ),
        (config(json!({"peft_type": null})), "`peft_type` is null"),
        (config(json!({"use_dora": true})), "`use_dora` is true"),
        (
            config(json!({"target_parameters": ["mlp.gate.weight"]})),
            "`target_parameters` is [",
        ),
        (
            config(json!({"init_lora_weights": "pissa_niter_4"})),
            "`init_lora_weights` is \"pissa_niter_4\"",
        ),
        (config(json!({"lora_alpha": "x"})), "`lora_alpha` is \"x\""),
        (
            config(json!({"alpha_pattern": {"(q|k)_proj": 2}})),
            "`alpha_pattern` is {",
        ),
        ((lora(json!({})), half, false), "one half of the change"),
        ((lora(json!({})), uneven, false), "of different ranks"),
        (
            (lora(json!({})), tall, false),
            "has shape [3, 3], expected [2, 3]",
        ),
        (
            (lora(json!({})), fused, false),
            "of which the model has 0 experts",
        ),
        (
            (lora(json!({})), dora, false),
            "lora_magnitude_vector`, expected `lora_A`",
        ),
        (
            (
                lora(json!({})),
                pair("model.layers.7.self_attn.q_proj"),
                false,
            ),
            "`model.layers.7.self_attn.q_proj.weight`, which the model does not have",
        ),
        (
            (lora(json!({})), pair("lm_head"), true),
            "a change of `lm_head.weight`",
        ),
        ((lora(json!({})), Vec::new(), true), "no tensors"),
    ];
    for ((config, tensors, is_tied), message) in cases {
        let folder = adapter(&config, &tensors);
        let error = applied(folder.path(), is_tied).unwrap_err();
        assert!(error.contains(message), "{error} lacks {message}");
        assert!(!error.contains('\n'), "{error}");
    }
    let folder = adapter(&lora(json!({})), &pair(Q));
    fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    let error = applied(folder.path(), false).unwrap_err();
    assert!(error.contains("no weights of the adapter"), "{error}");
    let error = applied(Path::new("tests"), false).unwrap_err();
    assert!(error.contains("no adapter_config.json"), "{error}");
}
