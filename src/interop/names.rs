//! Hugging Face's names of a model's parameters.
//!
//! They are the names of DeepSeek-V3, which most families share; a [`Family`](super::Family) states where it differs.
//! Multi-token prediction modules follow the last layer, as DeepSeek ships them.

use super::entry::{Entry, Rows, Take, Turn};
use super::hugging_face::HfConfig;
use crate::model::feed_forward::moe::MoeConfig;
use crate::model::mixer::MixerKind;
use crate::model::mixer::gqa::{GqaConfig, NormOver};
use crate::model::mixer::mla::MlaConfig;
use crate::model::rope::RotaryPairs;
use crate::model::routing::ScoringFunc;
use crate::model::{FeedForwardPlan, LayerPlan, ModelConfig};

const PROJECTIONS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// Mapping of every parameter of a model, in writing order.
///
/// The domain prior is left out, since no other engine has one.
pub(super) fn entries(config: &HfConfig) -> Vec<Entry> {
    let model = &config.model;
    let mut all = Entries::default();
    all.same("embed_tokens", "model.embed_tokens.weight");
    for (layer, plan) in model.plan().into_iter().enumerate() {
        let theirs = format!("model.layers.{layer}");
        all.block(config, plan, &format!("layers.{layer}"), &theirs);
    }
    all.same("norm.weight", "model.norm.weight");
    if !model.tie_word_embeddings {
        all.transposed("lm_head.weight", "lm_head.weight");
    }
    for depth in 0..model.num_nextn_predict_layers {
        let ours = format!("mtp.{depth}");
        let theirs = format!("model.layers.{}", model.num_hidden_layers + depth);
        for norm in ["enorm", "hnorm"] {
            all.same(
                format!("{ours}.{norm}.weight"),
                format!("{theirs}.{norm}.weight"),
            );
        }
        all.linear(&format!("{ours}.eh_proj"), &format!("{theirs}.eh_proj"));
        all.block(config, model.mtp_plan(), &format!("{ours}.block"), &theirs);
        all.same(
            format!("{ours}.norm.weight"),
            format!("{theirs}.shared_head.norm.weight"),
        );
    }
    all.0
}

/// Copies of embedding and head in multi-token prediction modules: the name of each copy and of its original. Some
/// engines read them, others ignore them.
pub(super) fn mtp_copies(model: &ModelConfig) -> Vec<(String, &'static str)> {
    let head = if model.tie_word_embeddings {
        "model.embed_tokens.weight"
    } else {
        "lm_head.weight"
    };
    (0..model.num_nextn_predict_layers)
        .map(|depth| format!("model.layers.{}", model.num_hidden_layers + depth))
        .flat_map(|module| {
            [
                (
                    format!("{module}.embed_tokens.weight"),
                    "model.embed_tokens.weight",
                ),
                (format!("{module}.shared_head.head.weight"), head),
            ]
        })
        .collect()
}

/// A growing list of entries.
#[derive(Debug, Default)]
pub struct Entries(pub(super) Vec<Entry>);

impl Entries {
    pub(super) fn one(
        &mut self,
        ours: impl Into<String>,
        theirs: impl Into<String>,
        take: Take,
        turn: Turn,
    ) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: vec![theirs.into()],
            take,
            turn,
            zeros: None,
        });
    }

    pub(super) fn same(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.one(ours, theirs, Take::Whole, Turn::Same);
    }

    pub(super) fn transposed(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.one(ours, theirs, Take::Whole, Turn::Transposed);
    }

    /// Maps a projection without a bias.
    pub(super) fn linear(&mut self, ours: &str, theirs: &str) {
        self.projection(ours, theirs, Take::Whole, false);
    }

    /// Maps a projection and, if it has one, its bias.
    fn projection(&mut self, ours: &str, theirs: &str, take: Take, has_bias: bool) {
        let of = |part: &str| (format!("{ours}.{part}"), format!("{theirs}.{part}"));
        let (our, their) = of("weight");
        self.one(our, their, take, Turn::Transposed);
        if has_bias {
            let (our, their) = of("bias");
            self.one(our, their, take, Turn::Same);
        }
    }

    /// Maps a norm's weight.
    fn norm(&mut self, ours: &str, theirs: &str, take: Take) {
        let (our, their) = (format!("{ours}.weight"), format!("{theirs}.weight"));
        self.one(our, their, take, Turn::Same);
    }

    fn block(&mut self, config: &HfConfig, plan: LayerPlan<'_>, ours: &str, theirs: &str) {
        let norm = "input_layernorm";
        self.norm(
            &format!("{ours}.{norm}"),
            &format!("{theirs}.{norm}"),
            Take::Whole,
        );
        config
            .family
            .mixer(self, config, plan.mixer, &format!("{ours}.mixer"), theirs);
        let norm = "post_attention_layernorm";
        self.norm(
            &format!("{ours}.{norm}"),
            &format!("{theirs}.{norm}"),
            Take::Whole,
        );
        let (ours, theirs) = (format!("{ours}.feed_forward"), format!("{theirs}.mlp"));
        match plan.feed_forward {
            FeedForwardPlan::Dense(_) => self.swiglu(&ours, &theirs, config.model.mlp_bias),
            FeedForwardPlan::Moe(moe) => self.experts(moe, &ours, &theirs),
        }
    }

    /// Maps a mixer that several families have; `theirs` is the layer's name.
    pub(super) fn mixer(&mut self, config: &HfConfig, kind: MixerKind, ours: &str, theirs: &str) {
        let mixers = &config.model.mixer;
        let theirs = format!("{theirs}.self_attn");
        match kind {
            MixerKind::Mla => {
                if let Some(mla) = &mixers.mla {
                    self.latent_attention(config, mla, ours, &theirs);
                }
            }
            MixerKind::Gqa => {
                if let Some(gqa) = &mixers.gqa {
                    self.grouped_query(gqa, ours, &theirs);
                }
            }
            // a family with another mixer maps it itself
            _ => {}
        }
    }

    fn grouped_query(&mut self, gqa: &GqaConfig, ours: &str, theirs: &str) {
        // their files pair halves
        let turned = |heads| match gqa.rotary_pairs {
            RotaryPairs::Halves => Take::Whole,
            RotaryPairs::Neighbours => Take::Rows(Rows::Rotary {
                heads,
                head_dim: gqa.head_dim,
                start: 0,
                dim: gqa.rotary_dim.unwrap_or(gqa.head_dim),
            }),
        };
        let (queries, keys) = (gqa.num_attention_heads, gqa.num_key_value_heads);
        let has_bias = gqa.attention_bias;
        let projections = [
            ("q_proj", turned(queries), has_bias),
            ("k_proj", turned(keys), has_bias),
            ("v_proj", Take::Whole, has_bias),
            ("o_proj", Take::Whole, gqa.has_output_bias()),
        ];
        for (name, take, has_bias) in projections {
            let (ours, theirs) = (format!("{ours}.{name}"), format!("{theirs}.{name}"));
            self.projection(&ours, &theirs, take, has_bias);
        }
        let norms = match gqa.qk_norm_over {
            NormOver::Head => [("q_norm", 1), ("k_norm", 1)],
            NormOver::Heads => [("q_norm", queries), ("k_norm", keys)],
        };
        for (name, heads) in norms.into_iter().filter(|_| gqa.qk_norm) {
            let (ours, theirs) = (format!("{ours}.{name}"), format!("{theirs}.{name}"));
            self.norm(&ours, &theirs, turned(heads));
        }
    }

    fn latent_attention(&mut self, config: &HfConfig, mla: &MlaConfig, ours: &str, theirs: &str) {
        let turned = |heads, start| match config.latent_pairs {
            RotaryPairs::Neighbours => Take::Whole,
            RotaryPairs::Halves => Take::Rows(Rows::Rotary {
                heads,
                head_dim: start + mla.qk_rope_head_dim,
                start,
                dim: mla.qk_rope_head_dim,
            }),
        };
        let queries = turned(mla.num_attention_heads, mla.qk_nope_head_dim);
        let (our, their) = (format!("{ours}.queries"), |name| format!("{theirs}.{name}"));
        if mla.q_lora_rank.is_some() {
            self.linear(&format!("{our}.q_a_proj"), &their("q_a_proj"));
            let name = "q_b_proj";
            self.projection(&format!("{our}.{name}"), &their(name), queries, false);
            let name = "q_a_layernorm";
            self.norm(&format!("{our}.{name}"), &their(name), Take::Whole);
        } else {
            self.projection(&our, &their("q_proj"), queries, false);
        }
        let latent = turned(1, mla.kv_lora_rank);
        for (name, take) in [
            ("kv_a_proj_with_mqa", latent),
            ("kv_b_proj", Take::Whole),
            ("o_proj", Take::Whole),
        ] {
            self.projection(&format!("{ours}.{name}"), &their(name), take, false);
        }
        let name = "kv_a_layernorm";
        self.norm(&format!("{ours}.{name}"), &their(name), Take::Whole);
    }

    fn experts(&mut self, moe: &MoeConfig, ours: &str, theirs: &str) {
        self.linear(&format!("{ours}.router.gate"), &format!("{theirs}.gate"));
        let bias = "e_score_correction_bias";
        // softmax routers choose by their scores alone
        let zeros = moe.router.scoring_func == ScoringFunc::Softmax;
        self.0.push(Entry {
            ours: format!("{ours}.router.{bias}"),
            theirs: vec![format!("{theirs}.gate.{bias}")],
            take: Take::Whole,
            turn: Turn::Same,
            zeros: zeros.then_some(moe.n_routed_experts),
        });
        for name in PROJECTIONS {
            let of = |expert| format!("{theirs}.experts.{expert}.{name}.weight");
            self.0.push(Entry {
                ours: format!("{ours}.experts.{name}"),
                theirs: (0..moe.n_routed_experts).map(of).collect(),
                take: Take::Stack,
                turn: Turn::Transposed,
                zeros: None,
            });
        }
        if moe.shared_width() == 0 {
            return;
        }
        let ours_shared = format!("{ours}.shared_experts");
        if moe.shared_expert_gate {
            self.swiglu(&ours_shared, &format!("{theirs}.shared_expert"), false);
            let name = "shared_expert_gate";
            self.linear(&format!("{ours}.{name}"), &format!("{theirs}.{name}"));
        } else {
            self.swiglu(&ours_shared, &format!("{theirs}.shared_experts"), false);
        }
    }

    fn swiglu(&mut self, ours: &str, theirs: &str, has_bias: bool) {
        for name in PROJECTIONS {
            let (ours, theirs) = (format!("{ours}.{name}"), format!("{theirs}.{name}"));
            self.projection(&ours, &theirs, Take::Whole, has_bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::backend::Backend;
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::interop::{Extras, hf_config};
    use crate::model::CausalLm;
    use crate::model::weights::collect;

    fn names_of_a_built_model<B: Backend>(config: &ModelConfig) -> BTreeSet<String> {
        let model = CausalLm::<B>::init(config, 0, &Default::default());
        collect(&model).into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn every_parameter_has_a_name_elsewhere() {
        let latent = serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 6,
            "first_k_dense_replace": 1, "num_nextn_predict_layers": 2, "max_position_embeddings": 16,
            "mixer": {"mla": {"num_attention_heads": 2, "q_lora_rank": 4, "kv_lora_rank": 4,
                "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4}},
            "rope": {}, "domains": {"mode": "off"},
            "moe": {"n_routed_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 4,
                "n_shared_experts": 1}
        });
        let mut direct = latent.clone();
        direct["mixer"]["mla"]["q_lora_rank"] = serde_json::Value::Null;
        let grouped = serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 6,
            "max_position_embeddings": 16, "layer_types": ["gqa"], "mlp_bias": true,
            "tie_word_embeddings": true,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
                "attention_bias": true}},
            "rope": {}
        });
        for json in [latent, direct, grouped] {
            let model: ModelConfig = serde_json::from_value(json).unwrap();
            model.validate().unwrap();
            let config = hf_config(&model, Extras::default()).unwrap();
            let named: BTreeSet<_> = entries(&config).into_iter().map(|it| it.ours).collect();
            assert_eq!(named, names_of_a_built_model::<Selected>(&model));
        }
    }
}
