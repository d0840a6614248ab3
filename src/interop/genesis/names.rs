//! What the package calls a model's parameters.

use super::GenesisConfig;
use crate::model::mixer::MixerKind;
use crate::model::norm::NormWeight;
use crate::model::{LayerPlan, ModelConfig};

/// How one of our parameters lies in their tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Same,
    /// A projection: ours is `[in, out]`, theirs `[out, in]`.
    Transposed,
    /// A depthwise convolution: ours is `[channels, taps]`, theirs `[channels, 1, taps]`.
    Convolution,
}

impl Form {
    /// Our shape of their tensor.
    pub(super) fn ours(self, theirs: &[usize]) -> Vec<usize> {
        match (self, theirs) {
            (Self::Transposed, shape) => shape.iter().rev().copied().collect(),
            (Self::Convolution, &[channels, 1, taps]) => vec![channels, taps],
            (Self::Same | Self::Convolution, shape) => shape.to_vec(),
        }
    }

    /// Their shape of our tensor.
    pub(super) fn theirs(self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Self::Convolution, &[channels, taps]) => vec![channels, 1, taps],
            (_, shape) => self.ours(shape),
        }
    }
}

/// A parameter and the tensor that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in our model.
    pub ours: String,
    /// Name in their file.
    pub theirs: String,
    /// What lies between.
    pub form: Form,
}

/// Whether a tensor says nothing that the configuration does not say, or keeps statistics.
pub(super) fn is_derived(name: &str) -> bool {
    name.contains(".attn.rope.") || name.starts_with("metacognition.evolution_")
}

/// Every parameter of a model.
pub fn entries(model: &ModelConfig, config: &GenesisConfig) -> Vec<Entry> {
    let mut all = Entries(Vec::new());
    let norm = match model.norm_weight {
        NormWeight::ZeroCentered => "omega",
        NormWeight::Plain => "weight",
    };
    all.same("embed_tokens", "tok_emb.weight");
    for (layer, plan) in model.plan().into_iter().enumerate() {
        all.block(config, plan, norm, layer);
    }
    if model.ttt.is_some() {
        all.metacognition();
    }
    all.same("norm.weight", &format!("ln_f.{norm}"));
    if !model.tie_word_embeddings {
        all.transposed("lm_head.weight", "lm_head.weight");
    }
    all.0
}

struct Entries(Vec<Entry>);

impl Entries {
    fn one(&mut self, ours: &str, theirs: &str, form: Form) {
        self.0.push(Entry {
            ours: ours.into(),
            theirs: theirs.into(),
            form,
        });
    }

    fn same(&mut self, ours: &str, theirs: &str) {
        self.one(ours, theirs, Form::Same);
    }

    fn transposed(&mut self, ours: &str, theirs: &str) {
        self.one(ours, theirs, Form::Transposed);
    }

    fn block(&mut self, config: &GenesisConfig, plan: LayerPlan<'_>, norm: &str, layer: usize) {
        let (ours, theirs) = (format!("layers.{layer}"), format!("blocks.{layer}"));
        let norms = [
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ];
        for (our, their) in norms {
            self.same(
                &format!("{ours}.{our}.weight"),
                &format!("{theirs}.{their}.{norm}"),
            );
        }
        let (mixer, attention) = (format!("{ours}.mixer"), format!("{theirs}.attn"));
        match plan.mixer {
            MixerKind::Fox => self.forgetting(&mixer, &attention),
            _ => self.gated_linear(config, &mixer, &attention),
        }
        for name in ["gate_proj", "up_proj", "down_proj"] {
            self.transposed(
                &format!("{ours}.feed_forward.{name}.weight"),
                &format!("{theirs}.ffn.{name}.weight"),
            );
        }
    }

    fn gated_linear(&mut self, config: &GenesisConfig, ours: &str, theirs: &str) {
        for name in [
            "q_proj", "k_proj", "v_proj", "gk_proj", "b_proj", "g_proj", "o_proj",
        ] {
            self.transposed(
                &format!("{ours}.{name}.weight"),
                &format!("{theirs}.{name}.weight"),
            );
        }
        self.same(
            &format!("{ours}.b_proj.bias"),
            &format!("{theirs}.b_proj.bias"),
        );
        for name in ["q", "k", "v"] {
            self.one(
                &format!("{ours}.{name}_conv.weight"),
                &format!("{theirs}.conv_{name}.conv.weight"),
                Form::Convolution,
            );
        }
        if config.gla_qk_norm != "l2" {
            for name in ["q_norm", "k_norm"] {
                self.same(
                    &format!("{ours}.{name}.weight"),
                    &format!("{theirs}.{name}.weight"),
                );
            }
        }
        match config.gla_use_mamba_gate {
            true => {
                self.same(&format!("{ours}.a_log"), &format!("{theirs}.A_log"));
                self.same(&format!("{ours}.dt_bias"), &format!("{theirs}.dt_bias"));
            }
            false => self.same(
                &format!("{ours}.gk_proj.bias"),
                &format!("{theirs}.gk_proj.bias"),
            ),
        }
        let norm = match config.gla_fuse_norm_gate {
            true => "g_norm_swish_gate",
            false => "g_norm",
        };
        self.same(
            &format!("{ours}.o_norm.weight"),
            &format!("{theirs}.{norm}.weight"),
        );
    }

    fn forgetting(&mut self, ours: &str, theirs: &str) {
        for name in [
            "q_proj",
            "k_proj",
            "v_proj",
            "fgate_proj",
            "ogate_proj",
            "o_proj",
        ] {
            self.transposed(
                &format!("{ours}.{name}.weight"),
                &format!("{theirs}.{name}.weight"),
            );
        }
        self.same(
            &format!("{ours}.fgate_proj.bias"),
            &format!("{theirs}.fgate_proj.bias"),
        );
        for name in ["k_conv", "v_conv"] {
            self.one(
                &format!("{ours}.{name}.weight"),
                &format!("{theirs}.{name}.conv.weight"),
                Form::Convolution,
            );
        }
        for name in ["q_norm", "k_norm"] {
            self.same(
                &format!("{ours}.{name}"),
                &format!("{theirs}.{name}.weight"),
            );
        }
        self.same(
            &format!("{ours}.o_norm.weight"),
            &format!("{theirs}.output_norm.weight"),
        );
    }

    fn metacognition(&mut self) {
        let projections = [
            ("self_model", "self_model"),
            ("ttt.q_proj", "ttt.q_proj"),
            ("ttt.k_proj", "ttt.k_proj"),
            ("ttt.v_proj", "ttt.v_proj"),
            ("ttt.out_proj", "ttt.out_proj"),
            ("ttt.output_gate", "ttt.output_gate"),
            ("confidence_in", "confidence.0"),
            ("confidence_out", "confidence.2"),
            ("reflection", "reflection"),
        ];
        for (ours, theirs) in projections {
            self.transposed(
                &format!("metacognition.{ours}.weight"),
                &format!("metacognition.{theirs}.weight"),
            );
        }
        let vectors = [
            ("confidence_in.bias", "confidence.0.bias"),
            ("confidence_out.bias", "confidence.2.bias"),
            ("ttt.w0", "ttt.W0"),
            ("ttt.a_init", "ttt.A_init"),
            ("ttt.b_init", "ttt.B_init"),
            ("ttt.log_lr", "ttt.log_lr"),
            ("ttt.norm.weight", "ttt.norm.weight"),
            ("ttt.norm.bias", "ttt.norm.bias"),
            ("ttt.layer_scale", "ttt.layer_scale.scale"),
        ];
        for (ours, theirs) in vectors {
            self.same(
                &format!("metacognition.{ours}"),
                &format!("metacognition.{theirs}"),
            );
        }
    }
}
