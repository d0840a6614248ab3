//! A model small enough to run in every test, with every part that the large ones have.

use darkhorse_genesis::model::ModelConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;

/// Three layers, the first dense, twenty experts, one MTP module.
pub(crate) fn small_config(mode: DomainMode) -> ModelConfig {
    let mut config: ModelConfig = serde_json::from_value(serde_json::json!({
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "intermediate_size": 48,
        "first_k_dense_replace": 1,
        "mixer": {"mla": {
            "num_attention_heads": 2, "q_lora_rank": 24, "kv_lora_rank": 16,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12
        }},
        "rope": {"rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
            "mscale": 1.0, "mscale_all_dim": 1.0
        }},
        "moe": {
            "n_routed_experts": 20, "num_experts_per_tok": 2,
            "moe_intermediate_size": 16, "n_shared_experts": 1
        },
        "num_nextn_predict_layers": 1,
        "max_position_embeddings": 128,
        "initializer_range": 0.3
    }))
    .expect("the configuration is complete");
    config.domains.mode = mode;
    config.validate().expect("the configuration is valid");
    config
}
