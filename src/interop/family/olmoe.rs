//! OLMoE: attention with queries and keys normalized over all heads, softmax-routed experts
//! (<https://arxiv.org/abs/2409.02060>).

use super::{Family, Gguf, Profile, experts};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::ModelConfig;
use crate::model::mixer::gqa::NormOver;
use crate::model::rope::RotaryPairs;
use crate::model::routing::ScoringFunc;

#[derive(Debug)]
pub(super) struct Olmoe;

impl Family for Olmoe {
    fn profile(&self) -> Profile {
        Profile {
            name: "OLMoE",
            model_type: "olmoe",
            architecture: "OlmoeForCausalLM",
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            bos_eos: (None, Some(50_279)),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "olmoe",
                pairs: RotaryPairs::Halves,
                keys: &[],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let hidden = model.hidden_size;
        let gqa = keys.grouped_query(model, HeadDefaults::default())?;
        let whole = gqa.num_attention_heads.saturating_mul(gqa.head_dim);
        let expected = format!("a share of hidden_size ({hidden}) for every head");
        keys.check("head_dim", whole == hidden, expected)?;
        (gqa.qk_norm, gqa.qk_norm_over) = (true, NormOver::Heads);
        keys.flag_or("attention_bias", &mut gqa.attention_bias, false)?;
        keys.optional_positive("clip_qkv", &mut gqa.clip_qkv)?;
        let moe = experts(model, ScoringFunc::Softmax);
        let (all, chosen) = (&mut moe.n_routed_experts, &mut moe.num_experts_per_tok);
        keys.experts_or(["num_experts", "num_local_experts"], all, 64)?;
        keys.size_or("num_experts_per_tok", chosen, 8)?;
        keys.flag_or("norm_topk_prob", &mut moe.router.norm_topk_prob, false)?;
        model.intermediate_size = *self.width(model);
        keys.writes("output_router_logits", false);
        keys.writes("router_aux_loss_coef", 0.01);
        Ok(())
    }

    fn in_gguf(&self, model: &mut ModelConfig) {
        experts(model, ScoringFunc::Softmax).router.norm_topk_prob = false;
        model.tie_word_embeddings = false;
        if let Some(gqa) = &mut model.mixer.gqa {
            gqa.num_key_value_heads = gqa.num_attention_heads;
            (gqa.attention_bias, gqa.clip_qkv) = (false, None);
        }
    }

    /// The family has no dense layers.
    fn width<'a>(&self, model: &'a mut ModelConfig) -> &'a mut usize {
        &mut experts(model, ScoringFunc::Softmax).moe_intermediate_size
    }
}
