//! What Hugging Face calls the parameters, and which rows of its fused projections are whose.

use super::Qwen3NextConfig;
use crate::model::ModelConfig;
use crate::model::mixer::MixerKind;

/// A parameter and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in our model.
    pub ours: String,
    /// Tensors: one, or one per expert.
    pub theirs: Vec<String>,
    /// Rows of the tensor, in our order; absent: all of them.
    pub rows: Option<Vec<usize>>,
    /// Whether the tensors are those of experts, stacked in ours.
    pub is_stacked: bool,
    /// Whether ours is `[in, out]` and theirs `[out, in]`.
    pub is_projection: bool,
}

/// Every parameter of a model that a file holds.
pub fn entries(model: &ModelConfig, config: &Qwen3NextConfig) -> Vec<Entry> {
    let mut all = Entries(Vec::new());
    all.same("embed_tokens", "model.embed_tokens.weight");
    for (layer, plan) in model.plan().into_iter().enumerate() {
        let (ours, theirs) = (format!("layers.{layer}"), format!("model.layers.{layer}"));
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            all.same(
                &format!("{ours}.{norm}.weight"),
                &format!("{theirs}.{norm}.weight"),
            );
        }
        match plan.mixer {
            MixerKind::GatedAttention => {
                all.attention(
                    config,
                    &format!("{ours}.mixer"),
                    &format!("{theirs}.self_attn"),
                );
            }
            _ => all.linear(
                config,
                &format!("{ours}.mixer"),
                &format!("{theirs}.linear_attn"),
            ),
        }
        all.experts(
            config,
            &format!("{ours}.feed_forward"),
            &format!("{theirs}.mlp"),
        );
    }
    all.same("norm.weight", "model.norm.weight");
    if !model.tie_word_embeddings {
        all.projection("lm_head.weight", "lm_head.weight", None);
    }
    all.0
}

/// Every tensor that is several of ours, and how many rows it has.
pub(super) fn fused(model: &ModelConfig, config: &Qwen3NextConfig) -> Vec<(String, usize)> {
    let (key_heads, value_heads) = (config.linear_num_key_heads, config.linear_num_value_heads);
    // a section that no layer uses was not validated
    let keys = key_heads.saturating_mul(config.linear_key_head_dim);
    let values = value_heads.saturating_mul(config.linear_value_head_dim);
    let plan = model.plan().into_iter().enumerate();
    plan.flat_map(|(layer, plan)| {
        let layer = format!("model.layers.{layer}");
        match plan.mixer {
            MixerKind::GatedAttention => {
                let rows = 2 * config.num_attention_heads * config.head_dim;
                vec![(format!("{layer}.self_attn.q_proj.weight"), rows)]
            }
            _ => vec![
                (
                    format!("{layer}.linear_attn.in_proj_qkvz.weight"),
                    2 * keys + 2 * values,
                ),
                (
                    format!("{layer}.linear_attn.in_proj_ba.weight"),
                    2 * value_heads,
                ),
                (
                    format!("{layer}.linear_attn.conv1d.weight"),
                    2 * keys + values,
                ),
            ],
        }
    })
    .collect()
}

struct Entries(Vec<Entry>);

impl Entries {
    fn push(&mut self, ours: &str, theirs: &str, rows: Option<Vec<usize>>, is_projection: bool) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: vec![theirs.into()],
            rows,
            is_stacked: false,
            is_projection,
        });
    }

    fn same(&mut self, ours: &str, theirs: &str) {
        self.push(ours, theirs, None, false);
    }

    fn projection(&mut self, ours: &str, theirs: &str, rows: Option<Vec<usize>>) {
        self.push(ours, theirs, rows, true);
    }

    /// `in_proj_qkvz` holds, for every key head: its query, its key, the values and the gates of its value
    /// heads; `in_proj_ba` likewise their write strengths and decays.
    fn linear(&mut self, config: &Qwen3NextConfig, ours: &str, theirs: &str) {
        let (heads, key) = (config.linear_num_key_heads, config.linear_key_head_dim);
        let each = config.linear_num_value_heads / heads;
        let value = each * config.linear_value_head_dim;
        let qkvz = format!("{theirs}.in_proj_qkvz.weight");
        let stride = 2 * key + 2 * value;
        let parts = [
            ("q_proj", 0, key),
            ("k_proj", key, key),
            ("v_proj", 2 * key, value),
            ("g_proj", 2 * key + value, value),
        ];
        for (name, start, width) in parts {
            let rows = rows_of(heads, stride, start, width);
            self.projection(&format!("{ours}.{name}.weight"), &qkvz, Some(rows));
        }
        let ba = format!("{theirs}.in_proj_ba.weight");
        for (name, start) in [("b_proj", 0), ("gk_proj", each)] {
            let rows = rows_of(heads, 2 * each, start, each);
            self.projection(&format!("{ours}.{name}.weight"), &ba, Some(rows));
        }
        let conv = format!("{theirs}.conv1d.weight");
        let parts = [
            ("q_conv", 0, heads * key),
            ("k_conv", heads * key, heads * key),
            ("v_conv", 2 * heads * key, heads * value),
        ];
        for (name, start, width) in parts {
            let rows = Some((start..start + width).collect());
            self.push(&format!("{ours}.{name}.weight"), &conv, rows, false);
        }
        let plain = [
            ("a_log", "A_log"),
            ("dt_bias", "dt_bias"),
            ("o_norm.weight", "norm.weight"),
        ];
        for (our, their) in plain {
            self.same(&format!("{ours}.{our}"), &format!("{theirs}.{their}"));
        }
        self.projection(
            &format!("{ours}.o_proj.weight"),
            &format!("{theirs}.out_proj.weight"),
            None,
        );
    }

    /// `q_proj` holds the query and the gate of one head after the other.
    fn attention(&mut self, config: &Qwen3NextConfig, ours: &str, theirs: &str) {
        let (heads, dim) = (config.num_attention_heads, config.head_dim);
        let query = format!("{theirs}.q_proj.weight");
        for (name, start) in [("q_proj", 0), ("gate_proj", dim)] {
            let rows = rows_of(heads, 2 * dim, start, dim);
            self.projection(&format!("{ours}.{name}.weight"), &query, Some(rows));
        }
        for name in ["k_proj", "v_proj", "o_proj"] {
            let theirs = format!("{theirs}.{name}.weight");
            self.projection(&format!("{ours}.{name}.weight"), &theirs, None);
        }
        for name in ["q_norm", "k_norm"] {
            self.same(
                &format!("{ours}.{name}.weight"),
                &format!("{theirs}.{name}.weight"),
            );
        }
    }

    fn experts(&mut self, config: &Qwen3NextConfig, ours: &str, theirs: &str) {
        self.projection(
            &format!("{ours}.router.gate.weight"),
            &format!("{theirs}.gate.weight"),
            None,
        );
        for name in ["gate_proj", "up_proj", "down_proj"] {
            let of = |expert: usize| format!("{theirs}.experts.{expert}.{name}.weight");
            self.0.push(Entry {
                ours: format!("{ours}.experts.{name}"),
                theirs: (0..config.num_experts).map(of).collect(),
                rows: None,
                is_stacked: true,
                is_projection: true,
            });
        }
        if config.shared_expert_intermediate_size > 0 {
            for name in ["gate_proj", "up_proj", "down_proj"] {
                let theirs = format!("{theirs}.shared_expert.{name}.weight");
                self.projection(
                    &format!("{ours}.shared_experts.{name}.weight"),
                    &theirs,
                    None,
                );
            }
            let theirs = format!("{theirs}.shared_expert_gate.weight");
            self.projection(&format!("{ours}.shared_expert_gate.weight"), &theirs, None);
        }
    }
}

/// `width` rows from `start` on of every group of `stride`.
fn rows_of(groups: usize, stride: usize, start: usize, width: usize) -> Vec<usize> {
    let group = |group: usize| (0..width).map(move |row| group * stride + start + row);
    (0..groups).flat_map(group).collect()
}
