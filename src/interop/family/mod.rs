//! Families of models in other people's files: for each a file here, and a line in the table.
//!
//! A family says which keys of `config.json` are its own and where in a [`ModelConfig`] each has its place. Reading and
//! writing, in Hugging Face's formats and in GGUF, follow from that.

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

/// All families. A model is written as the first that describes it.
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

/// What a family is called, and what absent keys of its `config.json` mean.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Its name, for people.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The first of `architectures` there.
    pub architecture: &'static str,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotation frequencies.
    pub rope_theta: f64,
    /// Tokens that begin and end a document.
    pub bos_eos: (Option<u32>, Option<u32>),
    /// Whether the head is the transposed embedding table.
    pub tie_word_embeddings: bool,
    /// The family in llama.cpp, if it is there.
    pub gguf: Option<Gguf>,
}

/// A family in llama.cpp.
#[derive(Debug, Clone, Copy)]
pub struct Gguf {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Which rows of queries and keys its files have rotated as pairs.
    pub pairs: RotaryPairs,
    /// Keys of its metadata beside those of every decoder, behind the architecture.
    pub keys: &'static [&'static str],
    /// Tensors of a layer that it names otherwise than llama.cpp does in general: Hugging Face's name, and its own.
    pub names: &'static [(&'static str, &'static str)],
    /// Tensors of a layer, by its names, that some of the family's models have: their part is there if they are.
    pub optional: &'static [&'static str],
}

/// A family of models.
pub trait Family: fmt::Debug + Sync {
    /// What it is called, and what absent keys mean.
    fn profile(&self) -> Profile;

    /// The keys of `config.json` that it has beside those of every family, each with its place, and what it fixes.
    ///
    /// # Errors
    ///
    /// [`InteropError::Field`] for what this model cannot compute.
    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError>;

    /// The width that is `intermediate_size` there: that of dense layers, unless there are none.
    fn width<'a>(&self, model: &'a mut ModelConfig) -> &'a mut usize {
        &mut model.intermediate_size
    }

    /// Every parameter of a model, under names that [`spelling`](Self::spelling) does not change yet.
    fn entries(&self, config: &HfConfig) -> Vec<Entry> {
        names::entries(config)
    }

    /// The parameters of a mixer: `ours` is its path in our model, `theirs` the name of its layer.
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

    /// The name that its files have for one of the usual ones.
    fn spelling(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whether a tensor of its files says nothing of the model.
    fn ignores(&self, name: &str) -> bool {
        name.ends_with("rotary_emb.inv_freq")
    }

    /// Whether a GGUF file of the family's architecture holds a model of the family; absent: one with experts does, if
    /// the family has some, and one without, if it has none.
    ///
    /// # Errors
    ///
    /// What reading the keys meets.
    fn fits_gguf(&self, _keys: &Keys<'_>) -> Result<Option<bool>, InteropError> {
        Ok(None)
    }

    /// What its graph in llama.cpp computes whatever the keys say. A model that is otherwise is not written.
    fn in_gguf(&self, _model: &mut ModelConfig) {}

    /// What other engines would refuse or compute differently, one line each.
    fn limits(&self, _config: &HfConfig) -> Vec<String> {
        Vec::new()
    }
}

impl PartialEq for dyn Family {
    fn eq(&self, other: &Self) -> bool {
        self.profile().model_type == other.profile().model_type
    }
}

/// The family of a `model_type`.
pub(super) fn by_model_type(model_type: &str) -> Option<&'static dyn Family> {
    let mut families = FAMILIES.iter();
    families
        .find(|family| family.profile().model_type == model_type)
        .copied()
}

/// All of `model_type` that are known, for messages.
pub(super) fn model_types() -> String {
    listed(|profile| profile.model_type, "or")
}

/// The names of all families, for messages.
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

/// The model's routed experts, chosen by scores of this kind; none is there yet if it was dense.
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
