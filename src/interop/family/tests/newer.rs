//! Families with few keys of their own: meaning of absent keys, and refusals.

use serde_json::{Value, json};

use super::{changed, fixture, gqa, mla, parsed};
use crate::interop::hugging_face::HfConfig;
use crate::interop::{Extras, hf_config};
use crate::model::ModelConfig;
use crate::model::mixer::gqa::{Biased, NormOver};
use crate::model::routing::{GroupScore, ScoringFunc};

/// A family's configuration with the sizes that have no defaults, and with the keys in `more`.
fn minimal(model_type: &str, more: &Value) -> HfConfig {
    let mut json = json!({"model_type": model_type, "vocab_size": 100, "hidden_size": 256,
        "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 64});
    let map = json.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    parsed(&json).unwrap()
}

fn context_eps_and_theta(config: &HfConfig) -> (usize, f64, f64) {
    let model = &config.model;
    (
        model.max_position_embeddings,
        model.rms_norm_eps,
        model.rope.rope_theta,
    )
}

/// Number of experts, number of experts per token, and width of an expert.
fn experts(config: &HfConfig) -> (usize, usize, usize) {
    let moe = config.model.moe.as_ref().unwrap();
    let (all, chosen) = (moe.n_routed_experts, moe.num_experts_per_tok);
    (all, chosen, moe.moe_intermediate_size)
}

#[test]
fn absent_keys_of_dense_families_have_defaults() {
    let qwen2 = minimal("qwen2", &json!({}));
    let attention = gqa(&qwen2);
    assert_eq!((attention.num_key_value_heads, attention.head_dim), (32, 4));
    assert!(attention.attention_bias && !attention.has_output_bias() && !attention.qk_norm);
    assert_eq!(attention.sliding_window, None);
    assert_eq!(context_eps_and_theta(&qwen2), (32_768, 1e-6, 1e4));
    assert_eq!(
        (qwen2.token_ids.bos, &qwen2.token_ids.eos[..]),
        (None, &[][..])
    );

    let qwen3 = minimal("qwen3", &json!({}));
    let attention = gqa(&qwen3);
    assert_eq!(
        (attention.num_key_value_heads, attention.head_dim),
        (32, 128)
    );
    assert!(attention.qk_norm && attention.qk_norm_over == NormOver::Head);
    assert!(!attention.attention_bias && attention.biased == Biased::All);

    let mistral = minimal("mistral", &json!({}));
    let attention = gqa(&mistral);
    assert_eq!((attention.num_key_value_heads, attention.head_dim), (8, 4));
    assert_eq!(attention.sliding_window, Some(4096));
    assert_eq!(context_eps_and_theta(&mistral), (131_072, 1e-6, 1e4));
    let without = minimal("mistral", &json!({"sliding_window": null}));
    assert_eq!(gqa(&without).sliding_window, None);
}

#[test]
fn absent_keys_of_families_with_experts_have_defaults() {
    let qwen = minimal("qwen3_moe", &json!({}));
    assert_eq!(
        (gqa(&qwen).num_key_value_heads, gqa(&qwen).head_dim),
        (4, 4)
    );
    assert_eq!(experts(&qwen), (128, 8, 768));
    let router = &qwen.model.moe.as_ref().unwrap().router;
    assert_eq!(router.scoring_func, ScoringFunc::Softmax);
    assert!(!router.norm_topk_prob);

    let olmoe = minimal("olmoe", &json!({}));
    let attention = gqa(&olmoe);
    assert_eq!((attention.num_key_value_heads, attention.head_dim), (64, 4));
    assert_eq!(
        (attention.qk_norm_over, attention.clip_qkv),
        (NormOver::Heads, None)
    );
    assert_eq!(experts(&olmoe), (64, 8, 48));
    assert_eq!(context_eps_and_theta(&olmoe), (4096, 1e-5, 1e4));
    assert_eq!(olmoe.token_ids.eos, [50_279]);

    let sizes = json!({"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4,
        "num_experts_per_tok": 6});
    let deepseek = minimal("deepseek_v2", &sizes);
    assert_eq!(mla(&deepseek).q_lora_rank, Some(1536));
    assert_eq!(experts(&deepseek), (64, 6, 1407));
    let moe = deepseek.model.moe.as_ref().unwrap();
    assert_eq!((moe.n_shared_experts, moe.router.n_group), (2, 1));
    assert!(!moe.router.norm_topk_prob && moe.router.routed_scaling_factor == 1.0);
    assert_eq!(context_eps_and_theta(&deepseek), (2048, 1e-6, 1e4));

    let glm = minimal("glm4_moe", &json!({}));
    let attention = gqa(&glm);
    assert_eq!(
        (attention.num_key_value_heads, attention.rotary_dim),
        (8, Some(2))
    );
    assert!(!attention.attention_bias && !attention.qk_norm);
    assert_eq!(experts(&glm), (128, 8, 1408));
    assert_eq!(glm.model.first_k_dense_replace, 1);
    let router = &glm.model.moe.as_ref().unwrap().router;
    assert_eq!(router.scoring_func, ScoringFunc::Sigmoid);
    assert!(router.norm_topk_prob && router.routed_scaling_factor == 1.0);
    assert_eq!(context_eps_and_theta(&glm), (131_072, 1e-5, 1e4));
}

#[test]
fn what_these_families_cannot_be_here_is_refused() {
    let cases = [
        (
            "qwen2",
            json!({"use_sliding_window": true}),
            "`max_window_layers` is 1, expected 0 or 2: layers with a window and layers without",
        ),
        (
            "qwen3",
            json!({"hidden_act": "gelu"}),
            "`hidden_act` is \"gelu\", expected \"silu\"",
        ),
        (
            "qwen3_moe",
            json!({"mlp_only_layers": [2]}),
            "`mlp_only_layers` is [2], expected a list of layers from 0 to 1",
        ),
        (
            "qwen3_moe",
            json!({"decoder_sparse_step": 0}),
            "`decoder_sparse_step` is 0, expected a whole number from 1",
        ),
        (
            "mistral",
            json!({"sliding_window": 0}),
            "`sliding_window` is 0, expected a whole number from 1",
        ),
        (
            "olmoe",
            json!({"clip_qkv": -1}),
            "`clip_qkv` is -1, expected a number above 0",
        ),
        (
            "olmoe",
            json!({"head_dim": 16}),
            "`head_dim` is 16, expected a share of hidden_size (32) for every head",
        ),
        (
            "olmoe",
            json!({"num_experts_per_tok": 9}),
            "num_experts_per_tok` is 9, expected 1 to 8",
        ),
        (
            "deepseek_v2",
            json!({"scoring_func": "sigmoid"}),
            "`scoring_func` is \"sigmoid\", expected \"softmax\"",
        ),
        (
            "deepseek_v2",
            json!({"topk_method": "noaux_tc"}),
            "`topk_method` is \"noaux_tc\", expected greedy or group_limited_greedy",
        ),
        (
            "deepseek_v2",
            json!({"norm_topk_prob": true}),
            "`norm_topk_prob` is true, expected false",
        ),
        (
            "deepseek_v2_groups",
            json!({"n_group": 5}),
            "`n_group` is 5, expected groups of equal size, 1 or more",
        ),
        (
            "glm4_moe",
            json!({"partial_rotary_factor": 0.0}),
            "`partial_rotary_factor` is 0",
        ),
        (
            "glm4_moe",
            json!({"n_group": 8}),
            "`n_group` is 8, expected groups of equal size, 2 or more",
        ),
    ];
    for (fixture, changes, message) in cases {
        let error = changed(fixture, &changes).unwrap_err();
        assert!(error.contains(message), "{fixture}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_window_of_qwen_is_that_of_every_layer_or_of_none() {
    let window = |changes: &Value| {
        let mut all = json!({"use_sliding_window": true, "sliding_window": 9});
        let map = all.as_object_mut().unwrap();
        map.extend(changes.as_object().unwrap().clone());
        let config = changed("qwen2", &all).unwrap();
        let text = config.to_json();
        assert_eq!(parsed(&text).unwrap(), config, "{text}");
        gqa(&config).sliding_window
    };
    assert_eq!(window(&json!({"max_window_layers": 0})), Some(9));
    assert_eq!(window(&json!({"max_window_layers": 2})), None);
    assert_eq!(window(&json!({"use_sliding_window": false})), None);
    let layers = |kind: &str| json!({"layer_types": [kind, kind]});
    assert_eq!(window(&layers("sliding_attention")), Some(9));
    assert_eq!(window(&layers("full_attention")), None);
}

fn dense(model: &ModelConfig) -> (usize, &[usize]) {
    (model.first_k_dense_replace, &model.mlp_only_layers)
}

#[test]
fn layers_without_experts_follow_from_a_list_and_a_step() {
    let of = |changes: Value| changed("qwen3_moe_sparse", &changes).unwrap();
    let stepwise = of(json!({}));
    assert_eq!(dense(&stepwise.model), (1, &[2][..]));
    let listed = of(json!({"decoder_sparse_step": 1, "mlp_only_layers": [2, 0]}));
    assert_eq!(listed, stepwise);
    assert_eq!(listed.to_json()["mlp_only_layers"], json!([0, 2]));
    let prefix = of(json!({"decoder_sparse_step": 1, "mlp_only_layers": [0, 1]}));
    assert_eq!(dense(&prefix.model), (2, &[][..]));
    let none = of(json!({"decoder_sparse_step": 9}));
    assert_eq!(dense(&none.model), (3, &[][..]));
}

#[test]
fn groups_of_deepseek_v2_count_where_its_method_looks_at_them() {
    let groups = |config: &HfConfig| {
        let router = &config.model.moe.as_ref().unwrap().router;
        (router.n_group, router.topk_group, router.group_score)
    };
    let limited = changed("deepseek_v2_groups", &json!({})).unwrap();
    assert_eq!(groups(&limited), (4, 2, GroupScore::Best));
    assert_eq!(limited.to_json()["topk_method"], "group_limited_greedy");
    let greedy = changed("deepseek_v2_groups", &json!({"topk_method": "greedy"})).unwrap();
    let (n_group, topk_group, _) = groups(&greedy);
    assert_eq!((n_group, topk_group), (1, 1));
    assert_eq!(greedy.to_json()["topk_method"], "greedy");
}

#[test]
fn kimi_k2_is_deepseek_v3_and_a_mistral_without_a_window_is_llama() {
    let v3 = fixture("deepseek_v3_plain/config.json");
    let kimi = changed("deepseek_v3_plain", &json!({"model_type": "kimi_k2"})).unwrap();
    assert_eq!(kimi.model, v3.model);
    let written = |config: &HfConfig| {
        let extras = Extras {
            token_ids: config.token_ids.clone(),
            dtype: config.dtype,
        };
        hf_config(&config.model, extras).unwrap()
    };
    assert_eq!(written(&kimi), v3);
    let mut mistral = fixture("mistral/config.json");
    mistral.token_ids.eos = vec![6, 7];
    let llama = written(&mistral);
    assert_eq!(llama.model, mistral.model);
    assert_eq!(llama.token_ids, mistral.token_ids);
    assert_eq!(llama.to_json()["model_type"], "llama");
}

/// transformers 5.23 writes Qwen3-MoE's number of experts as `num_local_experts` alone.
#[test]
fn the_number_of_experts_is_read_under_the_keys_that_transformers_accepts() {
    for (model_type, own, alias) in [
        ("qwen3_moe", "num_experts", "num_local_experts"),
        ("olmoe", "num_experts", "num_local_experts"),
        ("mixtral", "num_local_experts", "num_experts"),
        ("deepseek_v2", "n_routed_experts", "num_experts"),
        ("glm4_moe", "n_routed_experts", "num_local_experts"),
    ] {
        let all = |json: Value| experts(&minimal(model_type, &json)).0;
        let small = |more: Value| {
            let mut json = json!({"num_experts_per_tok": 2, "num_key_value_heads": 64, "head_dim": 4,
                "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8});
            let map = json.as_object_mut().unwrap();
            map.extend(more.as_object().unwrap().clone());
            json
        };
        assert_eq!(all(small(json!({alias: 6}))), 6, "{model_type}");
        assert_eq!(all(small(json!({own: 4, alias: 6}))), 4, "{model_type}");
    }
}
