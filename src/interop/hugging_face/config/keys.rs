//! Keys of `config.json`, read into a model or written from it by the same functions.
//!
//! A family lists its keys once, each with its place in the model. Reading fills the places, and writing takes the
//! values from them, so that both always agree.

use safetensors::Dtype;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fields::{Fields, dtype_name};
use super::{Fp8Quantization, TokenIds, rope};
use crate::interop::InteropError;
use crate::model::ModelConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::MixerKind;
use crate::model::mixer::gqa::GqaConfig;
use crate::model::mixer::mla::MlaConfig;
use crate::model::rope::RopeConfig;
use crate::model::routing::GroupScore;

type Done = Result<(), InteropError>;

/// Epsilon of `q_a_layernorm` and `kv_a_layernorm` in transformers and in DeepSeek's own code, whatever
/// `rms_norm_eps` is.
pub const LATENT_NORM_EPS: f64 = 1e-6;

/// The keys of a `config.json`, in one of three modes.
#[derive(Debug)]
pub struct ConfigKeys<'a> {
    way: Way<'a>,
    /// Whether the family has partly rotated heads and reads the fraction itself.
    is_partly_rotated: bool,
}

#[derive(Debug)]
enum Way<'a> {
    /// Reads a file into a model.
    Reading(Fields<'a>),
    /// Writes a file from a model.
    Writing(Map<String, Value>),
    /// Fills a model with the family's defaults.
    Blank,
}

/// Defaults of grouped-query attention.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::interop) struct HeadDefaults {
    /// Default of `num_key_value_heads`; absent: the number of query heads.
    pub(in crate::interop) key_value: Option<usize>,
    /// Default of `head_dim`; absent: `hidden_size` divided by the number of heads.
    pub(in crate::interop) dim: Option<usize>,
}

impl<'a> ConfigKeys<'a> {
    pub(super) fn reading_from(fields: Fields<'a>) -> Self {
        Self::of(Way::Reading(fields))
    }

    pub(super) fn writing() -> Self {
        Self::of(Way::Writing(Map::new()))
    }

    pub(super) fn blank() -> Self {
        Self::of(Way::Blank)
    }

    fn of(way: Way<'a>) -> Self {
        Self {
            way,
            is_partly_rotated: false,
        }
    }

    /// The written object.
    pub(super) fn into_json(self) -> Map<String, Value> {
        match self.way {
            Way::Writing(map) => map,
            Way::Reading(_) | Way::Blank => Map::new(),
        }
    }

    /// The fields of the file, if one is being read.
    pub(in crate::interop) fn reading(&self) -> Option<&Fields<'a>> {
        match &self.way {
            Way::Reading(fields) => Some(fields),
            Way::Writing(_) | Way::Blank => None,
        }
    }

    fn at<T: Serialize>(
        &mut self,
        key: &str,
        place: &mut T,
        blank: Option<T>,
        read: impl FnOnce(&Fields<'a>) -> Result<T, InteropError>,
    ) -> Done {
        match &mut self.way {
            Way::Reading(fields) => *place = read(fields)?,
            Way::Writing(map) => drop(map.insert(key.into(), json!(place))),
            Way::Blank => {
                if let Some(default) = blank {
                    *place = default;
                }
            }
        }
        Ok(())
    }

    /// Writes a key that is not read.
    pub(in crate::interop) fn writes(&mut self, key: &str, value: impl Into<Value>) {
        if let Way::Writing(map) = &mut self.way {
            map.insert(key.into(), value.into());
        }
    }

    /// A key with a single supported value, which is also the default.
    pub(in crate::interop) fn only(&mut self, key: &str, value: impl Into<Value>) -> Done {
        let value = value.into();
        match &mut self.way {
            Way::Reading(fields) => fields.only(key, value),
            Way::Writing(map) => {
                map.insert(key.into(), value);
                Ok(())
            }
            Way::Blank => Ok(()),
        }
    }

    /// Refuses the value that was read unless `holds`.
    pub(in crate::interop) fn check(
        &self,
        key: &str,
        holds: bool,
        expected: impl Into<String>,
    ) -> Done {
        match self.reading() {
            Some(fields) if !holds => Err(fields.error(key, expected)),
            _ => Ok(()),
        }
    }

    /// A required size.
    pub(in crate::interop) fn size(&mut self, key: &str, place: &mut usize) -> Done {
        self.at(key, place, None, |fields| fields.size(key))
    }

    /// An optional size with a default.
    pub(in crate::interop) fn size_or(
        &mut self,
        key: &str,
        place: &mut usize,
        default: usize,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            fields.size_or(key, default)
        })
    }

    /// The number of routed experts, under a family's own key or under that of another family, which transformers
    /// accepts in its place and in part writes (`attribute_map` in its configuration classes, 5.23).
    pub(in crate::interop) fn experts_or(
        &mut self,
        [key, alias]: [&str; 2],
        place: &mut usize,
        default: usize,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            let is_alias = fields.value(key).is_none() && fields.value(alias).is_some();
            fields.size_or(if is_alias { alias } else { key }, default)
        })
    }

    /// An optional count, which may be 0.
    pub(in crate::interop) fn count_or(
        &mut self,
        key: &str,
        place: &mut usize,
        default: usize,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            fields.count_or(key, default)
        })
    }

    /// A size that null turns off; absent, it has the default.
    pub(in crate::interop) fn optional(
        &mut self,
        key: &str,
        place: &mut Option<usize>,
        default: Option<usize>,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            if fields.has(key) {
                fields.number(key, 1)
            } else {
                Ok(default)
            }
        })
    }

    /// An optional boolean.
    pub(in crate::interop) fn flag_or(
        &mut self,
        key: &str,
        place: &mut bool,
        default: bool,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            fields.flag_or(key, default)
        })
    }

    /// An optional positive number.
    pub(in crate::interop) fn positive_or(
        &mut self,
        key: &str,
        place: &mut f64,
        default: f64,
    ) -> Done {
        self.at(key, place, Some(default), |fields| {
            fields.positive_or(key, default)
        })
    }

    /// A positive number; absent or null, it is off.
    pub(in crate::interop) fn optional_positive(
        &mut self,
        key: &str,
        place: &mut Option<f64>,
    ) -> Done {
        self.at(key, place, Some(None), |fields| fields.positive(key))
    }

    /// The mixer of each layer, by the family's names for them.
    pub(in crate::interop) fn layers(
        &mut self,
        key: &str,
        place: &mut Vec<MixerKind>,
        names: &[(&str, MixerKind)],
    ) -> Done {
        match &mut self.way {
            Way::Reading(fields) => {
                let expected = || {
                    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                    fields.error(key, format!("for each layer {}", names.join(" or ")))
                };
                let of = |value: &Value| names.iter().find(|(name, _)| value == name);
                let list = fields.value(key).and_then(Value::as_array);
                let kinds = list.ok_or_else(expected)?.iter().map(of);
                let kinds: Option<Vec<MixerKind>> = kinds.map(|it| it.map(|it| it.1)).collect();
                *place = kinds.filter(|it| !it.is_empty()).ok_or_else(expected)?;
            }
            Way::Writing(map) => {
                let of = |kind| names.iter().find(|(_, other)| *other == kind);
                let list = place.iter().map(|&kind| of(kind).map(|(name, _)| *name));
                map.insert(key.into(), json!(list.collect::<Vec<_>>()));
            }
            Way::Blank => {}
        }
        Ok(())
    }

    /// Grouped-query attention in every layer.
    pub(in crate::interop) fn grouped_query<'m>(
        &mut self,
        model: &'m mut ModelConfig,
        defaults: HeadDefaults,
    ) -> Result<&'m mut GqaConfig, InteropError> {
        model.layer_types = vec![MixerKind::Gqa];
        let hidden = model.hidden_size;
        let gqa = model.mixer.gqa.get_or_insert_default();
        let GqaConfig {
            num_attention_heads: heads,
            num_key_value_heads: shared,
            head_dim,
            ..
        } = gqa;
        self.heads(hidden, [heads, shared, head_dim], defaults)?;
        Ok(gqa)
    }

    /// Numbers of query heads and of key-value heads, and their width.
    pub(in crate::interop) fn heads(
        &mut self,
        hidden: usize,
        [queries, shared, dim]: [&mut usize; 3],
        defaults: HeadDefaults,
    ) -> Done {
        self.size("num_attention_heads", queries)?;
        let queries = *queries;
        let key = "num_key_value_heads";
        self.at(key, shared, None, |fields| {
            // null means the number of query heads
            let default = defaults.key_value.filter(|_| !fields.has(key));
            fields.size_or(key, default.unwrap_or(queries))
        })?;
        let divides = *shared > 0 && queries.is_multiple_of(*shared);
        let expected = format!("a divisor of num_attention_heads ({queries})");
        self.check(key, divides, expected)?;
        let key = "head_dim";
        self.at(key, dim, None, |fields| {
            match fields.number(key, 1)?.or(defaults.dim) {
                Some(dim) => Ok(dim),
                None if hidden.is_multiple_of(queries) => Ok(hidden / queries),
                None => {
                    let expected = format!("a multiple of num_attention_heads ({queries})");
                    Err(fields.error("hidden_size", expected))
                }
            }
        })?;
        let expected = format!("an even number (it is {dim})");
        self.check(key, dim.is_multiple_of(2), expected)
    }

    /// Number of leading dimensions of a head that are rotated.
    pub(in crate::interop) fn partial_rotary(
        &mut self,
        place: &mut usize,
        head_dim: usize,
        default: f64,
    ) -> Done {
        let key = "partial_rotary_factor";
        self.is_partly_rotated = true;
        match &mut self.way {
            Way::Reading(fields) => {
                let within = match fields.section("rope_parameters")? {
                    Some(section) => section.positive(key)?,
                    None => None,
                };
                let factor = within.map_or_else(|| fields.positive_or(key, default), Ok)?;
                *place = (head_dim as f64 * factor) as usize;
            }
            Way::Writing(map) => {
                let factor = *place as f64 / head_dim.max(1) as f64;
                map.insert(key.into(), json!(factor));
            }
            Way::Blank => *place = (head_dim as f64 * default) as usize,
        }
        Ok(())
    }

    /// DeepSeek's multi-head latent attention in every layer.
    pub(in crate::interop) fn latent_attention<'m>(
        &mut self,
        model: &'m mut ModelConfig,
    ) -> Result<&'m mut MlaConfig, InteropError> {
        model.layer_types = vec![MixerKind::Mla];
        let mla = model.mixer.mla.get_or_insert(MlaConfig {
            num_attention_heads: 0,
            q_lora_rank: None,
            kv_lora_rank: 0,
            qk_nope_head_dim: 0,
            qk_rope_head_dim: 0,
            v_head_dim: 0,
            latent_norm_eps: LATENT_NORM_EPS,
        });
        self.size("num_attention_heads", &mut mla.num_attention_heads)?;
        self.only("num_key_value_heads", mla.num_attention_heads)?;
        self.size("kv_lora_rank", &mut mla.kv_lora_rank)?;
        self.optional("q_lora_rank", &mut mla.q_lora_rank, Some(1536))?;
        let key = "qk_rope_head_dim";
        self.size(key, &mut mla.qk_rope_head_dim)?;
        let is_even = mla.qk_rope_head_dim.is_multiple_of(2);
        self.check(key, is_even, "an even number")?;
        self.size("qk_nope_head_dim", &mut mla.qk_nope_head_dim)?;
        self.size("v_head_dim", &mut mla.v_head_dim)?;
        Ok(mla)
    }

    /// Groups of experts, of which a token chooses some. A choice of all groups is written as one group.
    pub(in crate::interop) fn expert_groups(
        &mut self,
        moe: &mut MoeConfig,
        (n_group, topk_group): (usize, usize),
    ) -> Done {
        let (experts, chosen) = (moe.n_routed_experts, moe.num_experts_per_tok);
        let router = &mut moe.router;
        if router.topk_group == router.n_group {
            (router.n_group, router.topk_group) = (1, 1);
        }
        self.size_or("n_group", &mut router.n_group, n_group)?;
        self.size_or("topk_group", &mut router.topk_group, topk_group)?;
        let groups = router.n_group.max(1);
        let least = match router.group_score {
            GroupScore::TwoBest => 2,
            GroupScore::Best => 1,
        };
        let fits = experts.is_multiple_of(groups) && (groups == 1 || experts / groups >= least);
        let expected = format!("groups of equal size, {least} or more, of {experts} experts");
        self.check("n_group", fits, expected)?;
        let expected = format!("1 to n_group ({groups})");
        self.check("topk_group", router.topk_group <= groups, expected)?;
        let reachable = (experts / groups).saturating_mul(router.topk_group);
        let expected = format!("1 to {reachable}, the experts of the chosen groups");
        self.check("num_experts_per_tok", chosen <= reachable, expected)?;
        if router.topk_group == router.n_group {
            (router.n_group, router.topk_group) = (1, 1);
        }
        Ok(())
    }

    pub(super) fn token_ids(
        &mut self,
        place: &mut TokenIds,
        (bos, eos): (Option<u32>, Option<u32>),
    ) -> Done {
        match &mut self.way {
            Way::Reading(fields) => *place = TokenIds::parse(fields, bos, eos)?,
            Way::Writing(map) => map.extend(place.entries()),
            Way::Blank => {
                *place = TokenIds {
                    bos,
                    eos: Vec::from_iter(eos),
                    pad: None,
                }
            }
        }
        Ok(())
    }

    /// Rotary positions; `kind` is the key for the type of their scaling.
    pub(super) fn rope(
        &mut self,
        place: &mut RopeConfig,
        theta: f64,
        kind: &str,
        context: usize,
    ) -> Done {
        match &mut self.way {
            Way::Reading(fields) => {
                *place = rope::parse(fields, theta, context, self.is_partly_rotated)?;
            }
            Way::Writing(map) => map.extend(rope::entries(place, kind)),
            Way::Blank => place.rope_theta = theta,
        }
        Ok(())
    }

    /// Element type of the weights.
    pub(super) fn dtype(&mut self, place: &mut Option<Dtype>) -> Done {
        match &mut self.way {
            Way::Reading(fields) => *place = fields.dtype()?,
            Way::Writing(map) => drop(map.insert("torch_dtype".into(), dtype_name(*place))),
            Way::Blank => {}
        }
        Ok(())
    }

    /// Quantization of the weights.
    pub(super) fn quantization(&mut self, place: &mut Option<Fp8Quantization>) -> Done {
        match &mut self.way {
            Way::Reading(fields) => *place = Fp8Quantization::of(fields)?,
            Way::Writing(map) => {
                map.extend(
                    place
                        .map(|it| it.entry())
                        .map(|(key, value)| (key.into(), value)),
                );
            }
            Way::Blank => {}
        }
        Ok(())
    }
}
