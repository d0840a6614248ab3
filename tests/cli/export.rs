//! Export of parameters for which other formats have no place.

use serde_json::{Value, json};

use crate::home::{Home, documents};
use crate::model::broken_run;
use crate::program::{Program, text};

#[test]
fn a_bias_that_other_programs_have_no_place_for_is_not_dropped_on_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let bias = "layers.1.feed_forward.router.e_score_correction_bias";
    let run = broken_run(folder.path(), "mixtral", bias, -0.25);
    for (format, out) in [("hf", "out"), ("gguf", "out.gguf")] {
        let out = folder.path().join(out);
        let export = ["export", "--model", text(&run), "--format", format, "--out"];
        let ended = Program::new(&[&export[..], &[text(&out)]].concat()).run();
        let lost = format!(
            "`{bias}` has values up to 0.25, and files of Mixtral have no place for it: their routers choose by \
             scores alone; train the model with `moe.router.balance`"
        );
        assert!(ended.refusal().contains(&lost), "{format}: {ended:?}");
        assert!(!out.exists(), "{format}");
    }
}

/// Trains a small model of Mixtral's layout with the balancing rule `rule`, on text of two domains.
fn train(home: &Home, rule: &Value, run: &str) {
    let router = json!({"scoring_func": "softmax", "balance": rule});
    let model = json!({
        "vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32,
        "first_k_dense_replace": 0, "num_nextn_predict_layers": 0, "max_position_embeddings": 128,
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "layer_types": ["gqa"], "rope": {"rope_theta": 10000.0},
        "moe": {"n_routed_experts": 20, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "router": router}
    });
    let training = json!({"steps": 3, "batch_size": 2, "seq_len": 32, "log_every": 1});
    let config = json!({"model": model, "training": training});
    home.write("model.json", config.to_string());
    let text = documents("code", 20) + &documents("legal", 20);
    home.write("text.jsonl", text);
    home.done(&format!(
        "train --config model.json --data text.jsonl --no-valid --out {run} --quiet"
    ));
}

#[test]
fn a_softmax_router_is_exported_if_a_loss_balanced_it_and_refused_if_a_bias_did() {
    let home = Home::new();
    train(&home, &json!("sign"), "by-bias");
    train(&home, &json!({"auxiliary": {}}), "by-loss");
    let lost = "and files of Mixtral have no place for it";
    for out in ["hf --out hf", "gguf --out x.gguf"] {
        let refused = home.refused(&format!("export --model by-bias --format {out}"));
        assert!(refused.contains(lost), "{refused}");
        let of_domain = format!("export --model by-loss --domain code --format {out}");
        let refused = home.refused(&of_domain);
        assert!(
            refused.ends_with(&format!("{lost}: leave `--domain` out")),
            "{refused}"
        );
        home.done(&format!("export --model by-loss --format {out}"));
    }
    // no domain bias is written: the format has no router bias to add it to
    assert!(home.path("hf").join("config.json").exists());
    assert!(!home.path("hf").join("domain_bias").exists());
}
