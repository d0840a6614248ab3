//! Recognizes configurations of the first published Darkhorse Genesis and says where each value belongs now.

use serde_json::Value;

/// Keys that only old files have.
const OLD: [(&str, &str); 6] = [
    ("n_layers", "`model.num_hidden_layers`"),
    ("num_heads", "`model.mixer.mla.num_attention_heads`"),
    (
        "head_dim",
        "`model.mixer.mla.qk_nope_head_dim` and `model.mixer.mla.v_head_dim`",
    ),
    ("moe_num_experts", "`model.moe.n_routed_experts`"),
    ("moe_top_k", "`model.moe.num_experts_per_tok`"),
    ("num_next_tokens", "`model.num_nextn_predict_layers`"),
];

/// Keys that have the old name, but belong to a section now.
const MOVED: [(&str, &str); 4] = [
    ("hidden_size", "`model.hidden_size`"),
    ("vocab_size", "`model.vocab_size`"),
    ("kv_lora_rank", "`model.mixer.mla.kv_lora_rank`"),
    ("q_lora_rank", "`model.mixer.mla.q_lora_rank`"),
];

/// The renames that an old file needs; empty for any other file.
pub(super) fn renames(json: &str) -> Vec<(&'static str, &'static str)> {
    let Ok(Value::Object(root)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let model = root.get("model").and_then(Value::as_object);
    let in_model = |key: &str| model.is_some_and(|model| model.contains_key(key));
    let mut found: Vec<_> = OLD
        .into_iter()
        .filter(|(key, _)| root.contains_key(*key) || in_model(key))
        .collect();
    if !found.is_empty() {
        found.extend(MOVED.into_iter().filter(|(key, _)| root.contains_key(*key)));
    }
    found
}
