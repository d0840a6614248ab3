//! Meaning of absent keys in each family, and refusal of unsupported values.

mod newer;

use std::path::Path;

use serde_json::{Value, json};

use super::FAMILIES;
use crate::interop::hugging_face::HfConfig;
use crate::model::mixer::gqa::GqaConfig;
use crate::model::mixer::mla::MlaConfig;
use crate::model::rope::{RopeScaling, RotaryPairs};

const FIXTURES: &str = "tests/fixtures";

fn fixture(name: &str) -> HfConfig {
    HfConfig::open(&Path::new(FIXTURES).join(name)).unwrap()
}

/// The configuration of a fixture with some keys changed, or removed where the value is null.
fn changed(fixture: &str, changes: &Value) -> Result<HfConfig, String> {
    let path = Path::new(FIXTURES).join(fixture).join("config.json");
    let mut json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        json.as_object_mut().unwrap().remove(key);
        if !value.is_null() {
            json[key] = value.clone();
        }
    }
    parsed(&json)
}

fn parsed(json: &Value) -> Result<HfConfig, String> {
    HfConfig::parse(Path::new("c"), &json.to_string()).map_err(|error| error.to_string())
}

fn mla(config: &HfConfig) -> &MlaConfig {
    config.model.mixer.mla.as_ref().unwrap()
}

fn gqa(config: &HfConfig) -> &GqaConfig {
    config.model.mixer.gqa.as_ref().unwrap()
}

#[test]
fn no_two_families_have_one_name() {
    for (at, family) in FAMILIES.iter().enumerate() {
        let profile = family.profile();
        for other in &FAMILIES[..at] {
            assert_ne!(profile.model_type, other.profile().model_type);
            assert_ne!(profile.name, other.profile().name);
        }
    }
}

#[test]
fn absent_keys_of_deepseek_v3_have_defaults() {
    let absent = json!({"n_group": null, "topk_group": null, "n_shared_experts": null,
        "norm_topk_prob": null, "routed_scaling_factor": null, "first_k_dense_replace": null,
        "q_lora_rank": null, "num_nextn_predict_layers": null, "scoring_func": null,
        "rope_theta": null, "num_key_value_heads": null});
    let config = changed("deepseek_v3_yarn", &absent).unwrap();
    let moe = config.model.moe.as_ref().unwrap();
    let router = &moe.router;
    assert_eq!((router.n_group, router.topk_group), (8, 4));
    assert_eq!(
        (moe.n_shared_experts, config.model.first_k_dense_replace),
        (1, 3)
    );
    assert_eq!(mla(&config).q_lora_rank, Some(1536));
    assert_eq!(config.model.num_nextn_predict_layers, 0);
    assert_eq!(
        (router.routed_scaling_factor, router.norm_topk_prob),
        (2.5, true)
    );
    let shallow = json!({"first_k_dense_replace": null, "num_hidden_layers": 2});
    let shallow = changed("deepseek_v3_yarn", &shallow).unwrap();
    assert_eq!(shallow.model.first_k_dense_replace, 2);
    let all = changed("deepseek_v3_yarn", &json!({"n_group": 4, "topk_group": 4}));
    let all = all.unwrap().model.moe.unwrap().router;
    assert_eq!((all.n_group, all.topk_group), (1, 1));
}

#[test]
fn absent_keys_of_llama_and_mixtral_have_defaults() {
    let llama = json!({"model_type": "llama", "vocab_size": 100, "hidden_size": 48,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6});
    let llama = parsed(&llama).unwrap();
    assert_eq!(
        (gqa(&llama).head_dim, gqa(&llama).num_key_value_heads),
        (8, 6)
    );
    let model = &llama.model;
    assert_eq!(
        (model.rms_norm_eps, model.rope.rope_theta),
        (1e-6, 10_000.0)
    );
    assert!(!gqa(&llama).attention_bias && !model.mlp_bias && !model.tie_word_embeddings);
    assert_eq!(llama.token_ids.eos, [2]);

    let mut mixtral = json!({"model_type": "mixtral", "vocab_size": 100, "hidden_size": 64,
        "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 16,
        "sliding_window": 4096});
    let config = parsed(&mixtral).unwrap();
    let moe = config.model.moe.as_ref().unwrap();
    assert_eq!((moe.n_routed_experts, moe.num_experts_per_tok), (8, 2));
    assert_eq!(moe.moe_intermediate_size, 80);
    assert_eq!(
        (gqa(&config).num_key_value_heads, gqa(&config).head_dim),
        (8, 4)
    );
    let model = &config.model;
    assert_eq!((model.rms_norm_eps, model.rope.rope_theta), (1e-5, 1e6));
    assert_eq!(gqa(&config).sliding_window, Some(4096));
    mixtral["num_key_value_heads"] = Value::Null;
    assert_eq!(gqa(&parsed(&mixtral).unwrap()).num_key_value_heads, 16);
}

#[test]
fn what_does_not_fit_is_refused() {
    let cases = [
        (
            "deepseek_v3_yarn",
            json!({"scoring_func": "softmax"}),
            "`scoring_func` is \"softmax\", expected \"sigmoid\"",
        ),
        (
            "deepseek_v3_yarn",
            json!({"topk_method": "greedy"}),
            "`topk_method` is \"greedy\", expected \"noaux_tc\"",
        ),
        (
            "deepseek_v3_yarn",
            json!({"moe_layer_freq": 2}),
            "`moe_layer_freq` is 2, expected 1",
        ),
        (
            "deepseek_v3_yarn",
            json!({"num_key_value_heads": 2}),
            "`num_key_value_heads` is 2, expected 4",
        ),
        (
            "deepseek_v3_yarn",
            json!({"attention_bias": true}),
            "`attention_bias` is true, expected false",
        ),
        (
            "deepseek_v3_yarn",
            json!({"kv_lora_rank": null}),
            "`kv_lora_rank` is absent",
        ),
        (
            "deepseek_v3_yarn",
            json!({"qk_rope_head_dim": 15}),
            "`qk_rope_head_dim` is 15, expected an even number",
        ),
        (
            "deepseek_v3_yarn",
            json!({"n_group": 3}),
            "`n_group` is 3, expected groups of equal size",
        ),
        (
            "deepseek_v3_yarn",
            json!({"n_group": 16}),
            "`n_group` is 16, expected groups of equal size, 2 or more",
        ),
        (
            "deepseek_v3_yarn",
            json!({"topk_group": 5}),
            "`topk_group` is 5, expected 1 to n_group (4)",
        ),
        (
            "deepseek_v3_yarn",
            json!({"num_experts_per_tok": 9}),
            "`num_experts_per_tok` is 9, expected 1 to 8",
        ),
        (
            "deepseek_v3_yarn",
            json!({"rope_interleave": "no"}),
            "`rope_interleave` is \"no\", expected true or false",
        ),
        (
            "llama_tied",
            json!({"num_key_value_heads": 3}),
            "`num_key_value_heads` is 3, expected a divisor",
        ),
        (
            "llama_tied",
            json!({"head_dim": 7}),
            "`head_dim` is 7, expected an even number",
        ),
        (
            "llama_tied",
            json!({"hidden_size": 47, "head_dim": null}),
            "`hidden_size` is 47, expected a multiple",
        ),
        ("llama_tied", json!({"vocab_size": 0}), "`vocab_size` is 0"),
        (
            "llama_tied",
            json!({"hidden_act": "gelu"}),
            "c: `hidden_act` is \"gelu\", expected \"silu\"",
        ),
        (
            "mixtral",
            json!({"num_experts_per_tok": 9}),
            "`num_experts_per_tok` is 9, expected 1 to num_local_experts (8)",
        ),
        (
            "qwen3_next",
            json!({"layer_types": ["linear_attention", "other"]}),
            "`layer_types` is [\"linear_attention\",\"other\"], expected for each layer linear_attention or full",
        ),
        (
            "qwen3_next",
            json!({"mlp_only_layers": [0]}),
            "`mlp_only_layers` is [0], expected []",
        ),
        (
            "qwen3_next",
            json!({"num_hidden_layers": 4294967295u32}),
            "`num_hidden_layers`",
        ),
    ];
    for (fixture, changes, message) in cases {
        let error = changed(fixture, &changes).unwrap_err();
        assert!(error.contains(message), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn the_layers_of_qwen3_next_follow_from_their_interval() {
    let written = changed("qwen3_next", &json!({})).unwrap();
    let interval = json!({"layer_types": null, "full_attention_interval": 3});
    let mut told = changed("qwen3_next", &interval).unwrap();
    let kinds: Vec<_> = told.model.plan().iter().map(|it| it.mixer).collect();
    let expected: Vec<_> = written.model.plan().iter().map(|it| it.mixer).collect();
    assert_eq!(kinds, expected);
    told.model.layer_types = written.model.layer_types.clone();
    assert_eq!(told, written);
}

#[test]
fn what_engines_assume_when_it_is_absent_is_written() {
    let mut config = fixture("deepseek_v3_yarn/config.transformers5.json");
    let router = &mut config.model.moe.as_mut().unwrap().router;
    router.topk_group = router.n_group;
    let json = config.to_json();
    assert_eq!(json["scoring_func"], "sigmoid");
    assert_eq!(json["topk_method"], "noaux_tc");
    assert_eq!(json["rope_theta"], 10_000.0);
    assert_eq!(json["rope_scaling"]["type"], "yarn");
    assert_eq!(json["num_nextn_predict_layers"], 0);
    assert_eq!(
        (&json["n_group"], &json["topk_group"]),
        (&1.into(), &1.into())
    );
    let keys = json.as_object().unwrap().keys().take(3).collect::<Vec<_>>();
    assert_eq!(keys, ["architectures", "model_type", "attention_dropout"]);
}

#[test]
fn every_limit_is_told_by_itself() {
    let original = fixture("deepseek_v3_yarn/config.json");
    assert_eq!(original.engine_limits(), [""; 0]);
    let told = |change: fn(&mut HfConfig)| {
        let mut changed = original.clone();
        change(&mut changed);
        changed.engine_limits().join(" ")
    };
    assert!(told(|config| config.latent_pairs = RotaryPairs::Halves).contains("`rope_inter"));
    assert!(told(|config| config.model.rms_norm_eps = 1e-5).contains("`rms_norm_eps`"));
    let without_latent = |config: &mut HfConfig| {
        config.model.mixer.mla.as_mut().unwrap().q_lora_rank = None;
    };
    assert!(told(without_latent).contains("`q_lora_rank`"));
    assert!(told(|config| config.model.num_nextn_predict_layers = 2).contains("`num_nextn"));
    let lite = told(|config| {
        config.model.mixer.mla.as_mut().unwrap().q_lora_rank = None;
        config.model.num_hidden_layers = 27;
    });
    assert_eq!(lite, "");
    let scaling = told(|config| {
        if let Some(RopeScaling::Yarn(yarn)) = &mut config.model.rope.rope_scaling {
            yarn.mscale = Some(0.7);
        }
    });
    assert!(scaling.contains("`mscale`"));
    let betas = told(|config| {
        if let Some(RopeScaling::Yarn(yarn)) = &mut config.model.rope.rope_scaling {
            yarn.beta_slow = 0.5;
        }
    });
    assert!(betas.contains("--yarn-beta-slow"), "{betas}");
}
