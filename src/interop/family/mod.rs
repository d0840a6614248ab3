//! Model families of other programs: one file each, and one line in a table.
//!
//! A family states which keys of `config.json` it has and where each belongs in a [`ModelConfig`]. Reading and
//! writing, in Hugging Face's format and in GGUF, follow from that.

mod deepseek_v2;
mod deepseek_v3;
mod describe;
mod glm4_moe;
mod kimi_k2;
mod llama;
mod mistral;
mod mixtral;
mod olmoe;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod qwen3_next;
#[cfg(test)]
mod tests;

use std::fmt;

use super::InteropError;
use super::entry::Entry;
use super::gguf::Keys;
use super::hugging_face::{ConfigKeys, HfConfig};
use super::names::{self, Entries};
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::MixerKind;
use crate::model::rope::RotaryPairs;
use crate::model::routing::{RouterConfig, ScoringFunc};
pub use describe::{Extras, hf_config};
pub(in crate::interop) use describe::{compare, essence};

/// All families. A model is written as the first one that describes it.
pub(super) const FAMILIES: &[&dyn Family] = &[
    &llama::Llama,
    &mistral::Mistral,
    &qwen2::Qwen2,
    &qwen3::Qwen3,
    &mixtral::Mixtral,
    &qwen3_moe::Qwen3Moe,
    &olmoe::Olmoe,
    &deepseek_v3::DeepseekV3,
    &kimi_k2::KimiK2,
    &deepseek_v2::DeepseekV2,
    &glm4_moe::Glm4Moe,
    &qwen3_next::Qwen3Next,
];

/// Names of a family, and default values of its `config.json`.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Display name.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Architecture in `config.json`: the first of `architectures`.
    pub architecture: &'static str,
    /// Default context length, in tokens.
    pub max_position_embeddings: usize,
    /// Default epsilon of RMSNorm.
    pub rms_norm_eps: f64,
    /// Default base of the rotary frequencies.
    pub rope_theta: f64,
    /// Default ids of the tokens that begin and end a document.
    pub bos_eos: (Option<u32>, Option<u32>),
    /// Whether the output head shares the embedding table by default.
    pub tie_word_embeddings: bool,
    /// The family in llama.cpp, if it is supported there.
    pub gguf: Option<Gguf>,
}

/// Properties of a family in llama.cpp.
#[derive(Debug, Clone, Copy)]
pub struct Gguf {
    /// Value of `general.architecture`.
    pub architecture: &'static str,
    /// Which rows of queries and keys its files rotate as pairs.
    pub pairs: RotaryPairs,
    /// Metadata keys besides those of every decoder, without the architecture's prefix.
    pub keys: &'static [&'static str],
    /// Tensors of a layer that the family names differently from llama.cpp's usual names: Hugging Face's name and
    /// llama.cpp's.
    pub names: &'static [(&'static str, &'static str)],
    /// Tensors of a layer, by llama.cpp's names, that only some models of the family have. The component exists if
    /// they do.
    pub optional: &'static [&'static str],
}

/// A family of models in other programs' formats.
pub trait Family: fmt::Debug + Sync {
    /// Names and default values.
    fn profile(&self) -> Profile;

    /// Maps the family's own keys of `config.json` to their places in the model, and sets what the family fixes.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] for a value that this crate cannot compute.
    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError>;

    /// The width that `intermediate_size` stands for: that of dense layers, unless the family has none.
    fn width<'a>(&self, model: &'a mut ModelConfig) -> &'a mut usize {
        &mut model.intermediate_size
    }

    /// Mapping of every parameter, under names to which [`spelling`](Self::spelling) is not yet applied.
    fn entries(&self, config: &HfConfig) -> Vec<Entry> {
        names::entries(config)
    }

    /// Mapping of a mixer's parameters: `ours` is the mixer's path in our model, `theirs` the layer's name in theirs.
    fn mixer(
        &self,
        all: &mut Entries,
        config: &HfConfig,
        kind: MixerKind,
        ours: &str,
        theirs: &str,
    ) {
        all.mixer(config, kind, ours, theirs);
    }

    /// The family's own name for a tensor with a usual name.
    fn spelling(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whether a tensor of the family's files can be ignored.
    fn ignores(&self, name: &str) -> bool {
        name.ends_with("rotary_emb.inv_freq")
    }

    /// Whether a GGUF file of the family's architecture holds a model of this family. `None`: decided by whether file
    /// and family have experts.
    ///
    /// # Errors
    ///
    /// Errors of reading the keys.
    fn fits_gguf(&self, _keys: &Keys<'_>) -> Result<Option<bool>, InteropError> {
        Ok(None)
    }

    /// Sets what llama.cpp's graph computes regardless of the keys. A model that differs from it is not written.
    fn in_gguf(&self, _model: &mut ModelConfig) {}

    /// Properties that other engines refuse or compute differently, one line each.
    fn limits(&self, _config: &HfConfig) -> Vec<String> {
        Vec::new()
    }
}

impl PartialEq for dyn Family {
    fn eq(&self, other: &Self) -> bool {
        self.profile().model_type == other.profile().model_type
    }
}

/// The family with this `model_type`.
pub(super) fn by_model_type(model_type: &str) -> Option<&'static dyn Family> {
    let mut families = FAMILIES.iter();
    families
        .find(|family| family.profile().model_type == model_type)
        .copied()
}

/// All known values of `model_type`, for messages.
pub(super) fn model_types() -> String {
    listed(|profile| profile.model_type, "or")
}

/// Names of all families, for messages.
pub(super) fn names() -> String {
    listed(|profile| profile.name, "and")
}

fn listed(of: impl Fn(Profile) -> &'static str, last: &str) -> String {
    let all: Vec<&str> = FAMILIES.iter().map(|it| of(it.profile())).collect();
    match all.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => all.concat(),
    }
}

/// The model's routed experts, which are created with these scores if the model was dense.
fn experts(model: &mut ModelConfig, scoring_func: ScoringFunc) -> &mut MoeConfig {
    model.moe.get_or_insert(MoeConfig {
        n_routed_experts: 0,
        num_experts_per_tok: 0,
        moe_intermediate_size: 0,
        n_shared_experts: 0,
        shared_expert_intermediate_size: None,
        shared_expert_gate: false,
        router: RouterConfig {
            scoring_func,
            ..RouterConfig::default()
        },
    })
}
