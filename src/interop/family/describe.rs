//! Selection of the family for a model: the first one whose files can describe it completely.

use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{FAMILIES, names};
use crate::interop::InteropError;
use crate::interop::hugging_face::{HfConfig, TokenIds};
use crate::model::mixer::MixerKind;
use crate::model::mixer::gqa::{Biased, NormOver};
use crate::model::rope::RotaryPairs;
use crate::model::routing::domain::DomainConfig;
use crate::model::{FeedForwardPlan, ModelConfig};

/// Content of a `config.json` beside the model's architecture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras {
    /// Ids of the special tokens.
    pub token_ids: TokenIds,
    /// Element type of the weights.
    pub dtype: Option<Dtype>,
}

/// The `config.json` of the family that a model belongs to, in a form that every engine accepts.
///
/// A family describes a model if its `config.json`, read back, gives the same model, so that nothing is lost
/// silently.
///
/// # Errors
///
/// [`InteropError::NoFamily`] if no family describes the model, with the differences from the nearest one.
pub fn hf_config(model: &ModelConfig, extras: Extras) -> Result<HfConfig, InteropError> {
    let wanted = essence(model);
    let mut nearest = None;
    for &family in FAMILIES {
        let mut config = HfConfig::blank(family)?;
        config.model = model.clone();
        let written = config.to_json();
        let map = written.as_object().cloned().unwrap_or_default();
        // a configuration that cannot be read back is not near
        let Ok(read) = HfConfig::of_json(Path::new("config.json"), &map) else {
            continue;
        };
        let mut differences = Vec::new();
        let count = compare("", &wanted, &essence(&read.model), &mut differences);
        if count == 0 {
            config.token_ids = extras.token_ids;
            config.dtype = extras.dtype;
            return Ok(config);
        }
        if nearest.as_ref().is_none_or(|(other, _)| count < *other) {
            let name = family.profile().name;
            let told = differences.iter().take(MOST_TOLD);
            let told = told.map(|(path, found, expected)| {
                format!(
                    "`{path}` is {}, in {name} {}",
                    short(found),
                    short(expected)
                )
            });
            nearest = Some((count, Vec::from_iter(told).join("; ")));
        }
    }
    let reason = nearest.map_or_else(|| "its sizes fit none".to_owned(), |(_, reason)| reason);
    Err(InteropError::NoFamily {
        reason,
        families: names(),
    })
}

/// Largest number of differences in a message.
const MOST_TOLD: usize = 6;

/// The part of a configuration that matters to the weights: without training settings, and without settings of
/// components that no layer has.
pub(in crate::interop) fn essence(model: &ModelConfig) -> Value {
    let plan = model.plan();
    let kinds: Vec<MixerKind> = plan.iter().map(|layer| layer.mixer).collect();
    let modules = (model.num_nextn_predict_layers > 0).then(|| model.mtp_plan().feed_forward);
    let forwards = plan.iter().map(|it| it.feed_forward).chain(modules);
    let (dense, routed): (Vec<_>, Vec<_>) =
        forwards.partition(|it| matches!(it, FeedForwardPlan::Dense(_)));
    let mut this = model.clone();
    if dense.is_empty() {
        (this.intermediate_size, this.mlp_bias, this.selective) = (0, false, None);
    }
    if routed.is_empty() {
        (this.moe, this.first_k_dense_replace) = (None, 0);
        this.mlp_only_layers = Vec::new();
    }
    let mixer = &mut this.mixer;
    let has = |kind| kinds.contains(&kind);
    mixer.mla.take_if(|_| !has(MixerKind::Mla));
    mixer.gqa.take_if(|_| !has(MixerKind::Gqa));
    mixer.gla.take_if(|_| !has(MixerKind::Gla));
    mixer.fox.take_if(|_| !has(MixerKind::Fox));
    let gated = &mut mixer.gated_attention;
    gated.take_if(|_| !has(MixerKind::GatedAttention));
    if let Some(gqa) = &mut mixer.gqa {
        // rows are permuted into the other format's order
        gqa.rotary_pairs = RotaryPairs::default();
        gqa.rotary_dim.take_if(|dim| *dim == gqa.head_dim);
        if !gqa.attention_bias {
            gqa.biased = Biased::default();
        }
        if !gqa.qk_norm {
            gqa.qk_norm_over = NormOver::default();
        }
    }
    this.layer_types = kinds;
    if let Some(moe) = &mut this.moe {
        moe.shared_expert_intermediate_size = Some(moe.shared_width());
        moe.n_shared_experts = 0;
        let router = &mut moe.router;
        if router.topk_group == router.n_group {
            (router.n_group, router.topk_group) = (1, 1);
            router.group_score = Default::default();
        }
        router.balance = Default::default();
        (router.z_loss, router.mutual_information_loss) = (0.0, 0.0);
        router.initial_experts = None;
    }
    if let Some(selective) = &mut this.selective {
        selective.schedule = None;
    }
    this.domains = DomainConfig::default();
    this.quantization = None;
    this.embedding_initializer_range = None;
    this.depth_scaled_init = false;
    json!(this)
}

/// Collects where and how two values differ, and returns the number of differing parts.
pub(in crate::interop) fn compare(
    path: &str,
    found: &Value,
    expected: &Value,
    differences: &mut Vec<(String, Value, Value)>,
) -> usize {
    match (found, expected) {
        (Value::Object(left), Value::Object(right)) => {
            let more = right.keys().filter(|key| !left.contains_key(*key));
            let parts = left.keys().chain(more).map(|key| {
                let at = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                let path = match path {
                    "" => key.clone(),
                    _ => format!("{path}.{key}"),
                };
                compare(&path, &at(left), &at(right), differences)
            });
            parts.sum()
        }
        _ if found == expected => 0,
        _ => {
            differences.push((path.to_owned(), found.clone(), expected.clone()));
            parts(found).max(parts(expected))
        }
    }
}

/// Number of leaves in a value.
fn parts(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(parts).sum(),
        Value::Array(list) => list.iter().map(parts).sum(),
        _ => 1,
    }
}

/// A value, shortened for a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mixer::gqa::GqaConfig;
    use crate::model::routing::balance::Rule;
    use crate::model::routing::cosine::{CosineConfig, Similarity};
    use crate::model::routing::{GateRule, RouterConfig};

    fn preset(text: &str) -> ModelConfig {
        let preset: Value = serde_json::from_str(text).unwrap();
        serde_json::from_value(preset["model"].clone()).unwrap()
    }

    fn refusal(model: &ModelConfig) -> Option<String> {
        model.validate().unwrap();
        let refused = hf_config(model, Extras::default());
        refused.err().map(|error| error.to_string())
    }

    #[test]
    fn attention_that_is_not_plain_is_refused_by_name() {
        let mut mixtral = preset(include_str!("../../../configs/mixtral-tiny.json"));
        mixtral.first_k_dense_replace = 0;
        assert_eq!(refusal(&mixtral), None);
        type Change = fn(&mut GqaConfig);
        let changes: [(Change, &str); 3] = [
            (|gqa| gqa.clip_qkv = Some(1.0), "clip_qkv"),
            (|gqa| gqa.output_gate = true, "output_gate"),
            (|gqa| gqa.rotary_dim = Some(2), "rotary_dim"),
        ];
        for (change, name) in changes {
            let mut model = mixtral.clone();
            change(model.mixer.gqa.as_mut().unwrap());
            let refused = refusal(&model).unwrap();
            assert!(
                refused.contains(&format!("`mixer.gqa.{name}`")),
                "{refused}"
            );
            assert!(refused.contains("in Mixtral"), "{refused}");
        }
    }

    #[test]
    fn parts_of_a_router_that_no_other_engine_has_are_refused_by_name() {
        let tiny = preset(include_str!("../../../configs/tiny.json"));
        assert_eq!(refusal(&tiny), None);
        let null = refusal(&preset(include_str!(
            "../../../configs/genesis-moe-tiny.json"
        )));
        let null = null.unwrap();
        assert!(null.contains("`moe.router.null_experts`"), "{null}");
        type Change = (fn(&mut RouterConfig), &'static str);
        let changes: [Change; 3] = [
            (
                |router| router.similarity = Similarity::Cosine(CosineConfig::default()),
                "similarity",
            ),
            (|router| router.intercept = true, "intercept"),
            (
                |router| {
                    (router.gate, router.norm_topk_prob) = (GateRule::UnitScale, false);
                    router.routed_scaling_factor = 1.0;
                },
                "gate",
            ),
        ];
        for (change, name) in changes {
            let mut changed = tiny.clone();
            change(&mut changed.moe.as_mut().unwrap().router);
            let refused = refusal(&changed).unwrap();
            let name = format!("`moe.router.{name}`");
            assert!(refused.contains(&name), "{refused}");
        }
    }

    #[test]
    fn what_only_training_uses_does_not_matter() {
        let mut tiny = preset(include_str!("../../../configs/tiny.json"));
        tiny.embedding_initializer_range = Some(0.5);
        tiny.depth_scaled_init = !tiny.depth_scaled_init;
        assert_eq!(refusal(&tiny), None);
        let changes: [fn(&mut RouterConfig); 4] = [
            |router| router.z_loss = 0.1,
            |router| router.mutual_information_loss = 0.1,
            |router| router.balance = Rule::Auxiliary(Default::default()),
            |router| router.initial_experts = Some(12),
        ];
        for change in changes {
            let mut changed = tiny.clone();
            change(&mut changed.moe.as_mut().unwrap().router);
            assert_ne!(changed, tiny);
            assert_eq!(refusal(&changed), None);
        }
        let mut llama = preset(include_str!("../../../configs/mixtral-tiny.json"));
        llama.moe = None;
        assert_eq!(refusal(&llama), None);
        let factors = serde_json::json!({"base_width": 8, "output_mult": 1.0});
        llama.mup = serde_json::from_value(factors).unwrap();
        let refused = refusal(&llama).unwrap();
        assert!(refused.contains("`mup`"), "{refused}");
    }
}
