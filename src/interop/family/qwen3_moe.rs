//! Qwen3-MoE: Qwen3's attention, softmax-routed experts (<https://arxiv.org/abs/2505.09388>).

use serde_json::{Value, json};

use super::{Family, Gguf, Profile, experts, qwen2};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::rope::RotaryPairs;
use crate::model::routing::ScoringFunc;
use crate::model::{FeedForwardPlan, MAX_LAYERS, ModelConfig};

#[derive(Debug)]
pub(super) struct Qwen3Moe;

impl Family for Qwen3Moe {
    fn profile(&self) -> Profile {
        Profile {
            name: "Qwen3-MoE",
            model_type: "qwen3_moe",
            architecture: "Qwen3MoeForCausalLM",
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "qwen3moe",
                pairs: RotaryPairs::Halves,
                keys: &["expert_feed_forward_length"],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let heads = HeadDefaults {
            key_value: Some(4),
            dim: None,
        };
        let gqa = keys.grouped_query(model, heads)?;
        gqa.qk_norm = true;
        keys.flag_or("attention_bias", &mut gqa.attention_bias, false)?;
        qwen2::window_in_use(keys, &mut gqa.sliding_window)?;
        let moe = experts(model, ScoringFunc::Softmax);
        let (all, chosen) = (&mut moe.n_routed_experts, &mut moe.num_experts_per_tok);
        keys.experts_or(["num_experts", "num_local_experts"], all, 128)?;
        keys.size_or("num_experts_per_tok", chosen, 8)?;
        keys.size_or("moe_intermediate_size", &mut moe.moe_intermediate_size, 768)?;
        keys.flag_or("norm_topk_prob", &mut moe.router.norm_topk_prob, false)?;
        dense_layers(keys, model)?;
        keys.writes("output_router_logits", false);
        keys.writes("router_aux_loss_coef", 0.001);
        Ok(())
    }

    fn in_gguf(&self, model: &mut ModelConfig) {
        qwen2::without_biases(model);
        experts(model, ScoringFunc::Softmax).router.norm_topk_prob = true;
        model.first_k_dense_replace = 0;
        model.mlp_only_layers.clear();
    }
}

/// The layers without experts: those in a list, and all but every `decoder_sparse_step`-th.
fn dense_layers(keys: &mut ConfigKeys<'_>, model: &mut ModelConfig) -> Result<(), InteropError> {
    let key = "mlp_only_layers";
    let Some(fields) = keys.reading() else {
        let plan = model.plan().into_iter().enumerate();
        let dense = plan.filter(|(_, it)| matches!(it.feed_forward, FeedForwardPlan::Dense(_)));
        let dense: Vec<usize> = dense.map(|(layer, _)| layer).collect();
        keys.writes("decoder_sparse_step", 1);
        keys.writes(key, json!(dense));
        return Ok(());
    };
    let step = fields.size_or("decoder_sparse_step", 1)?;
    let listed: Vec<usize> = match fields.value(key) {
        None => Vec::new(),
        Some(list) => {
            let layers = model.num_hidden_layers as u64;
            let layer = |it: &Value| it.as_u64().filter(|it| *it < layers).map(|it| it as usize);
            let list = list
                .as_array()
                .and_then(|list| list.iter().map(layer).collect());
            let expected = || format!("a list of layers from 0 to {}", layers.saturating_sub(1));
            list.ok_or_else(|| fields.error(key, expected()))?
        }
    };
    let is_dense = |layer: &usize| listed.contains(layer) || !(layer + 1).is_multiple_of(step);
    // more layers are refused later, with the whole configuration
    let layers = 0..model.num_hidden_layers.min(MAX_LAYERS);
    model.first_k_dense_replace = layers.clone().take_while(is_dense).count();
    let after = layers.skip(model.first_k_dense_replace);
    model.mlp_only_layers = after.filter(is_dense).collect();
    Ok(())
}
