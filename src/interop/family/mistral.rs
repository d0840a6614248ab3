//! Mistral: grouped-query attention, in some models over a sliding window, dense (<https://arxiv.org/abs/2310.06825>).
//!
//! Without a window it is a Llama model, and is written as one.

use super::{Family, Gguf, Profile};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::rope::RotaryPairs;

#[derive(Debug)]
pub(super) struct Mistral;

impl Family for Mistral {
    fn profile(&self) -> Profile {
        Profile {
            name: "Mistral",
            model_type: "mistral",
            architecture: "MistralForCausalLM",
            max_position_embeddings: 131_072,
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
        let heads = HeadDefaults {
            key_value: Some(8),
            dim: None,
        };
        let gqa = keys.grouped_query(&mut config.model, heads)?;
        keys.optional("sliding_window", &mut gqa.sliding_window, Some(4096))
    }
}
