//! The only place that knows what others call a model's parameters.
//!
//! Others means Hugging Face's spelling of DeepSeek-V3, which Llama and Mixtral share for all but
//! Mixtral's experts; the multi-token prediction modules follow the last layer, as DeepSeek ships them.

use crate::model::mixer::MixerKind;
use crate::model::{FeedForwardPlan, LayerPlan, ModelConfig};

/// How one of our parameters lies in their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Same,
    /// A projection: ours is `[in, out]`, theirs `[out, in]`.
    Transposed,
    /// Projections of all experts: ours is `[expert, in, out]`, theirs is one `[out, in]` per expert.
    Experts,
}

/// A parameter and the tensors that hold it: one, or one per expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) ours: String,
    pub(super) theirs: Vec<String>,
    pub(super) form: Form,
}

/// Every parameter of a model that others know, in the order in which others write them.
///
/// The domain prior is not among them: no other engine has one.
pub(super) fn entries(config: &ModelConfig) -> Vec<Entry> {
    let mut all = Entries::default();
    all.same("embed_tokens", "model.embed_tokens.weight");
    for (layer, plan) in config.plan().into_iter().enumerate() {
        let theirs = format!("model.layers.{layer}");
        all.block(config, plan, &format!("layers.{layer}"), &theirs);
    }
    all.same("norm.weight", "model.norm.weight");
    if !config.tie_word_embeddings {
        all.transposed("lm_head.weight", "lm_head.weight");
    }
    for depth in 0..config.num_nextn_predict_layers {
        let ours = format!("mtp.{depth}");
        let theirs = format!("model.layers.{}", config.num_hidden_layers + depth);
        for norm in ["enorm", "hnorm"] {
            all.same(
                format!("{ours}.{norm}.weight"),
                format!("{theirs}.{norm}.weight"),
            );
        }
        all.transposed(
            format!("{ours}.eh_proj.weight"),
            format!("{theirs}.eh_proj.weight"),
        );
        all.block(config, config.mtp_plan(), &format!("{ours}.block"), &theirs);
        all.same(
            format!("{ours}.norm.weight"),
            format!("{theirs}.shared_head.norm.weight"),
        );
    }
    all.0
}

/// What a multi-token prediction module repeats of the model around it: its name there, and whose copy
/// it is. Some engines look for it, others ignore it.
pub(super) fn mtp_copies(config: &ModelConfig) -> Vec<(String, &'static str)> {
    let head = match config.tie_word_embeddings {
        true => "model.embed_tokens.weight",
        false => "lm_head.weight",
    };
    (0..config.num_nextn_predict_layers)
        .map(|depth| format!("model.layers.{}", config.num_hidden_layers + depth))
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

/// Whether a tensor of theirs says nothing that the configuration does not say.
pub(super) fn is_derived(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

#[derive(Debug, Default)]
struct Entries(Vec<Entry>);

impl Entries {
    fn one(&mut self, ours: impl Into<String>, theirs: impl Into<String>, form: Form) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: vec![theirs.into()],
            form,
        });
    }

    fn same(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.one(ours, theirs, Form::Same);
    }

    fn transposed(&mut self, ours: impl Into<String>, theirs: impl Into<String>) {
        self.one(ours, theirs, Form::Transposed);
    }

    /// A projection with its bias, if it has one.
    fn linear(&mut self, ours: &str, theirs: &str, has_bias: bool) {
        self.transposed(format!("{ours}.weight"), format!("{theirs}.weight"));
        if has_bias {
            self.same(format!("{ours}.bias"), format!("{theirs}.bias"));
        }
    }

    fn block(&mut self, config: &ModelConfig, plan: LayerPlan<'_>, ours: &str, theirs: &str) {
        self.same(
            format!("{ours}.input_layernorm.weight"),
            format!("{theirs}.input_layernorm.weight"),
        );
        let attention = format!("{theirs}.self_attn");
        match plan.mixer {
            MixerKind::Mla => self.latent_attention(config, &format!("{ours}.mixer"), &attention),
            MixerKind::Gqa => {
                let gqa = config.mixer.gqa.as_ref();
                let has_bias = gqa.is_some_and(|gqa| gqa.attention_bias);
                for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                    let ours = format!("{ours}.mixer.{name}");
                    self.linear(&ours, &format!("{attention}.{name}"), has_bias);
                }
            }
            // no Hugging Face family here has them: `family::hf_config` refused the model before
            MixerKind::Gla | MixerKind::Fox | MixerKind::GatedAttention => {}
        }
        self.same(
            format!("{ours}.post_attention_layernorm.weight"),
            format!("{theirs}.post_attention_layernorm.weight"),
        );
        let (ours, theirs) = (format!("{ours}.feed_forward"), format!("{theirs}.mlp"));
        match plan.feed_forward {
            FeedForwardPlan::Dense(_) => self.swiglu(&ours, &theirs, config.mlp_bias),
            FeedForwardPlan::Moe(moe) => {
                self.transposed(
                    format!("{ours}.router.gate.weight"),
                    format!("{theirs}.gate.weight"),
                );
                self.same(
                    format!("{ours}.router.e_score_correction_bias"),
                    format!("{theirs}.gate.e_score_correction_bias"),
                );
                for name in ["gate_proj", "up_proj", "down_proj"] {
                    let of = |expert| format!("{theirs}.experts.{expert}.{name}.weight");
                    self.0.push(Entry {
                        ours: format!("{ours}.experts.{name}"),
                        theirs: (0..moe.n_routed_experts).map(of).collect(),
                        form: Form::Experts,
                    });
                }
                if moe.n_shared_experts > 0 {
                    let theirs = format!("{theirs}.shared_experts");
                    self.swiglu(&format!("{ours}.shared_experts"), &theirs, false);
                }
            }
        }
    }

    fn latent_attention(&mut self, config: &ModelConfig, ours: &str, theirs: &str) {
        let mla = config.mixer.mla.as_ref();
        let has_latent = mla.is_some_and(|mla| mla.q_lora_rank.is_some());
        if has_latent {
            let queries = format!("{ours}.queries");
            for name in ["q_a_proj", "q_b_proj"] {
                self.linear(
                    &format!("{queries}.{name}"),
                    &format!("{theirs}.{name}"),
                    false,
                );
            }
            self.same(
                format!("{queries}.q_a_layernorm.weight"),
                format!("{theirs}.q_a_layernorm.weight"),
            );
        } else {
            self.linear(
                &format!("{ours}.queries"),
                &format!("{theirs}.q_proj"),
                false,
            );
        }
        for name in ["kv_a_proj_with_mqa", "kv_b_proj", "o_proj"] {
            self.linear(
                &format!("{ours}.{name}"),
                &format!("{theirs}.{name}"),
                false,
            );
        }
        self.same(
            format!("{ours}.kv_a_layernorm.weight"),
            format!("{theirs}.kv_a_layernorm.weight"),
        );
    }

    fn swiglu(&mut self, ours: &str, theirs: &str, has_bias: bool) {
        for name in ["gate_proj", "up_proj", "down_proj"] {
            self.linear(
                &format!("{ours}.{name}"),
                &format!("{theirs}.{name}"),
                has_bias,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::backend::Backend;
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::model::CausalLm;
    use crate::model::weights::collect;

    fn config(json: serde_json::Value) -> ModelConfig {
        let config: ModelConfig = serde_json::from_value(json).unwrap();
        config.validate().unwrap();
        config
    }

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
            let config = config(json);
            let named: BTreeSet<_> = entries(&config).into_iter().map(|it| it.ours).collect();
            assert_eq!(named, names_of_a_built_model::<Selected>(&config));
        }
    }
}
