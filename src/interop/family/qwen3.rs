//! Qwen3: grouped-query attention with normalized queries and keys, dense (<https://arxiv.org/abs/2505.09388>).

use super::{Family, Gguf, Profile, qwen2};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::ModelConfig;
use crate::model::rope::RotaryPairs;

#[derive(Debug)]
pub(super) struct Qwen3;

impl Family for Qwen3 {
    fn profile(&self) -> Profile {
        Profile {
            name: "Qwen3",
            model_type: "qwen3",
            architecture: "Qwen3ForCausalLM",
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "qwen3",
                pairs: RotaryPairs::Halves,
                keys: &[],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let heads = HeadDefaults {
            key_value: Some(32),
            dim: Some(128),
        };
        let layers = model.num_hidden_layers;
        let gqa = keys.grouped_query(model, heads)?;
        gqa.qk_norm = true;
        keys.flag_or("attention_bias", &mut gqa.attention_bias, false)?;
        qwen2::sliding_window(keys, &mut gqa.sliding_window, layers)
    }

    fn in_gguf(&self, model: &mut ModelConfig) {
        qwen2::without_biases(model);
    }
}
