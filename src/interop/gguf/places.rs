//! Mapping of GGUF's numeric metadata to places in a model, used for reading and writing.

use super::keys::Keys;
use super::value::GgufValue::{self, Bool, F32, U32};
use crate::interop::InteropError;
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::mla::MlaConfig;
use crate::model::routing::ScoringFunc;

/// A metadata key, without the architecture's prefix.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Which architectures have it.
    pub(super) of: Of,
    absent: Absent,
    place: fn(&mut ModelConfig) -> Option<Place<'_>>,
}

/// The architectures that have a key: all, or those that list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    All,
    Listed,
}

/// Meaning of a missing key in llama.cpp.
#[derive(Debug, Clone, Copy)]
enum Absent {
    Refused,
    Nothing,
    Size(usize),
    Number(f64),
    False,
}

/// A place in the model's configuration.
enum Place<'a> {
    Size(&'a mut usize),
    Maybe(&'a mut Option<usize>),
    Number(&'a mut f64),
    Flag(&'a mut bool),
    Scoring(&'a mut ScoringFunc),
}

fn moe(model: &mut ModelConfig) -> Option<&mut MoeConfig> {
    model.moe.as_mut()
}

fn mla(model: &mut ModelConfig) -> Option<&mut MlaConfig> {
    model.mixer.mla.as_mut()
}

fn heads(model: &mut ModelConfig) -> Option<&mut usize> {
    let mixer = &mut model.mixer;
    let mla = mixer.mla.as_mut().map(|it| &mut it.num_attention_heads);
    mla.or(mixer.gqa.as_mut().map(|it| &mut it.num_attention_heads))
}

const fn key(
    name: &'static str,
    of: Of,
    absent: Absent,
    place: fn(&mut ModelConfig) -> Option<Place<'_>>,
) -> Key {
    Key {
        name,
        of,
        absent,
        place,
    }
}

use Absent::{False, Nothing, Number, Refused, Size};
use Of::{All, Listed};

/// All keys, in reading order: counts come before the things they count.
pub(super) const KEYS: &[Key] = &[
    key("block_count", All, Refused, |m| {
        Some(Place::Size(&mut m.num_hidden_layers))
    }),
    key("context_length", All, Refused, |m| {
        Some(Place::Size(&mut m.max_position_embeddings))
    }),
    key("embedding_length", All, Refused, |m| {
        Some(Place::Size(&mut m.hidden_size))
    }),
    key("attention.head_count", All, Refused, |m| {
        heads(m).map(Place::Size)
    }),
    key("rope.freq_base", All, Number(1e4), |m| {
        Some(Place::Number(&mut m.rope.rope_theta))
    }),
    key("attention.layer_norm_rms_epsilon", All, Refused, |m| {
        Some(Place::Number(&mut m.rms_norm_eps))
    }),
    key("attention.q_lora_rank", All, Nothing, |m| {
        Some(Place::Maybe(&mut mla(m)?.q_lora_rank))
    }),
    key("attention.kv_lora_rank", All, Refused, |m| {
        Some(Place::Size(&mut mla(m)?.kv_lora_rank))
    }),
    key("expert_count", All, Refused, |m| {
        Some(Place::Size(&mut moe(m)?.n_routed_experts))
    }),
    key("expert_used_count", All, Refused, |m| {
        Some(Place::Size(&mut moe(m)?.num_experts_per_tok))
    }),
    key("expert_group_count", Listed, Size(1), |m| {
        Some(Place::Size(&mut moe(m)?.router.n_group))
    }),
    key("expert_group_used_count", Listed, Size(1), |m| {
        Some(Place::Size(&mut moe(m)?.router.topk_group))
    }),
    key("expert_gating_func", Listed, Nothing, |m| {
        Some(Place::Scoring(&mut moe(m)?.router.scoring_func))
    }),
    key("expert_weights_scale", Listed, Number(1.0), |m| {
        Some(Place::Number(&mut moe(m)?.router.routed_scaling_factor))
    }),
    key("expert_weights_norm", Listed, False, |m| {
        Some(Place::Flag(&mut moe(m)?.router.norm_topk_prob))
    }),
    key("expert_feed_forward_length", Listed, Refused, |m| {
        Some(Place::Size(&mut moe(m)?.moe_intermediate_size))
    }),
    key("expert_shared_count", Listed, Refused, |m| {
        Some(Place::Size(&mut moe(m)?.n_shared_experts))
    }),
    key("leading_dense_block_count", Listed, Size(0), |m| {
        Some(Place::Size(&mut m.first_k_dense_replace))
    }),
];

impl Key {
    /// Reads the key into its place, if the model has that place.
    pub(super) fn read(
        &self,
        keys: &Keys<'_>,
        model: &mut ModelConfig,
    ) -> Result<(), InteropError> {
        let (name, absent) = (self.name, self.absent);
        let missing = |kind: &str| keys.missing(name, kind);
        match (self.place)(model) {
            None => {}
            Some(Place::Size(place)) => {
                *place = match (keys.optional_count_of_layers(name)?, absent) {
                    (Some(count), _) => count as usize,
                    (None, Size(size)) => size,
                    (None, _) => return Err(missing("a whole number")),
                }
            }
            Some(Place::Maybe(place)) => {
                *place = keys.optional_count(name)?.map(|count| count as usize);
            }
            Some(Place::Number(place)) => {
                *place = match (keys.optional_number(name)?, absent) {
                    (Some(number), _) => number,
                    (None, Number(number)) => number,
                    (None, _) => return Err(missing("a number")),
                }
            }
            Some(Place::Flag(place)) => {
                let flag = keys.get(name, GgufValue::as_bool, "true or false")?;
                *place = flag.unwrap_or(false);
            }
            // llama.cpp takes a missing key to mean softmax
            Some(Place::Scoring(place)) => {
                *place = match keys.optional_count(name)? {
                    None | Some(1) => ScoringFunc::Softmax,
                    Some(2) => ScoringFunc::Sigmoid,
                    Some(other) => {
                        let expected = "1 (softmax) or 2 (sigmoid)";
                        return Err(keys.error(name, other.to_string(), expected));
                    }
                }
            }
        }
        Ok(())
    }

    /// The value to write for a model; `None` if the model has no such place, or llama.cpp needs no key for it.
    pub(super) fn value(&self, model: &mut ModelConfig) -> Option<GgufValue> {
        Some(match (self.place)(model)? {
            Place::Size(size) => U32(*size as u32),
            Place::Maybe(size) => U32((*size)? as u32),
            Place::Number(number) => F32(*number as f32),
            Place::Flag(flag) => Bool((*flag).then_some(true)?),
            Place::Scoring(ScoringFunc::Softmax) => U32(1),
            Place::Scoring(ScoringFunc::Sigmoid) => U32(2),
        })
    }
}
