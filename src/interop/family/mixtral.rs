//! Mixtral: grouped-query attention, softmax-routed experts (<https://arxiv.org/abs/2401.04088>).
//!
//! A token's gates are its experts' softmax over all experts, normalized to sum to one.

use super::{Family, Gguf, Profile, experts};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig, mixtral_name};
use crate::model::ModelConfig;
use crate::model::rope::RotaryPairs;
use crate::model::routing::ScoringFunc;

#[derive(Debug)]
pub(super) struct Mixtral;

impl Family for Mixtral {
    fn profile(&self) -> Profile {
        Profile {
            name: "Mixtral",
            model_type: "mixtral",
            architecture: "MixtralForCausalLM",
            max_position_embeddings: 131_072,
            rms_norm_eps: 1e-5,
            rope_theta: 1_000_000.0,
            bos_eos: (Some(1), Some(2)),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "llama",
                pairs: RotaryPairs::Neighbours,
                keys: &[],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let heads = HeadDefaults {
            key_value: Some(8),
            dim: None,
        };
        let gqa = keys.grouped_query(model, heads)?;
        keys.optional("sliding_window", &mut gqa.sliding_window, None)?;
        let moe = experts(model, ScoringFunc::Softmax);
        let (all, chosen) = (&mut moe.n_routed_experts, &mut moe.num_experts_per_tok);
        keys.experts_or(["num_local_experts", "num_experts"], all, 8)?;
        keys.size_or("num_experts_per_tok", chosen, 2)?;
        let expected = format!("1 to num_local_experts ({all})");
        keys.check("num_experts_per_tok", chosen <= all, expected)?;
        model.intermediate_size = *self.width(model);
        keys.writes("output_router_logits", false);
        keys.writes("router_aux_loss_coef", 0.001);
        keys.writes("router_jitter_noise", 0.0);
        Ok(())
    }

    /// The family has no dense layers.
    fn width<'a>(&self, model: &'a mut ModelConfig) -> &'a mut usize {
        &mut experts(model, ScoringFunc::Softmax).moe_intermediate_size
    }

    fn spelling(&self, name: &str) -> String {
        mixtral_name(name)
    }
}
