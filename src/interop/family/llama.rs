//! Llama: grouped-query attention, dense (<https://arxiv.org/abs/2302.13971>).

use super::{Family, Gguf, Profile};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::rope::RotaryPairs;

#[derive(Debug)]
pub(super) struct Llama;

impl Family for Llama {
    fn profile(&self) -> Profile {
        Profile {
            name: "Llama",
            model_type: "llama",
            architecture: "LlamaForCausalLM",
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
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
        let gqa = keys.grouped_query(model, HeadDefaults::default())?;
        keys.flag_or("attention_bias", &mut gqa.attention_bias, false)?;
        keys.flag_or("mlp_bias", &mut model.mlp_bias, false)
    }
}
