//! Names of the parameters in the package.

use crate::interop::entry::{Entry, Take, Turn};
use crate::interop::names::Entries;
use crate::model::ModelConfig;
use crate::model::mixer::MixerKind;
use crate::model::mixer::gla::{DecayConfig, GlaConfig, QkNorm};
use crate::model::norm::NormWeight;

/// The embedding table.
const TABLE: &str = "tok_emb.weight";

/// The head. The package loads it after the table, so in a tied model its values replace the table's.
const HEAD: &str = "lm_head.weight";

/// Tensors that identify a checkpoint without its configuration.
pub(super) const PARTS: [&str; 2] = [TABLE, "ln_f.omega"];

/// Whether a tensor follows from the configuration or holds statistics, so that it is not loaded.
pub(super) fn is_derived(name: &str) -> bool {
    name.contains(".attn.rope.") || name.starts_with("metacognition.evolution_")
}

/// Unifies the two names of linear attention's output norm, with and without a fused gate. In a tied model with a head,
/// the table is dropped and the head takes its name.
pub(super) fn plain_name(name: &str, is_tied: bool, has_head: bool) -> Option<String> {
    match name {
        TABLE if is_tied && has_head => None,
        HEAD if is_tied => Some(TABLE.to_owned()),
        _ => Some(name.replace(".attn.g_norm.", ".attn.g_norm_swish_gate.")),
    }
}

/// Mapping of every parameter of a model.
pub(super) fn entries(model: &ModelConfig) -> Vec<Entry> {
    let mut all = Entries::default();
    let norm = match model.norm_weight {
        NormWeight::ZeroCentered => "omega",
        NormWeight::Plain => "weight",
    };
    all.same("embed_tokens", TABLE);
    for (layer, plan) in model.plan().into_iter().enumerate() {
        let (ours, theirs) = (format!("layers.{layer}"), format!("blocks.{layer}"));
        for (our, their) in [
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ] {
            let (our, their) = (format!("{ours}.{our}.weight"), format!("{theirs}.{their}"));
            all.same(our, format!("{their}.{norm}"));
        }
        let (mixer, attention) = (format!("{ours}.mixer"), format!("{theirs}.attn"));
        match (plan.mixer, &model.mixer.gla) {
            (MixerKind::Fox, _) => forgetting(&mut all, &mixer, &attention),
            (_, Some(gla)) => gated_linear(&mut all, gla, &mixer, &attention),
            (_, None) => {}
        }
        let projections = ["gate_proj", "up_proj", "down_proj"].map(|name| (name, name));
        let (ours, theirs) = (format!("{ours}.feed_forward"), format!("{theirs}.ffn"));
        linear(&mut all, &ours, &theirs, &projections);
    }
    if model.ttt.is_some() {
        metacognition(&mut all);
    }
    all.same("norm.weight", format!("ln_f.{norm}"));
    if !model.tie_word_embeddings {
        all.transposed(HEAD, HEAD);
    }
    all.0
}

/// Maps the weights of projections; `names` has pairs of our name and theirs.
fn linear(all: &mut Entries, ours: &str, theirs: &str, names: &[(&str, &str)]) {
    for (our, their) in names {
        all.linear(&format!("{ours}.{our}"), &format!("{theirs}.{their}"));
    }
}

/// Maps tensors of equal layout; `names` has pairs of our name and theirs.
fn same(all: &mut Entries, ours: &str, theirs: &str, names: &[(&str, &str)]) {
    for (our, their) in names {
        all.same(format!("{ours}.{our}"), format!("{theirs}.{their}"));
    }
}

/// Maps the weights of depthwise convolutions; `names` has pairs of our name and theirs.
fn convolutions(all: &mut Entries, ours: &str, theirs: &str, names: &[(&str, &str)]) {
    for (our, their) in names {
        let their = format!("{theirs}.{their}.conv.weight");
        let our = format!("{ours}.{our}.weight");
        all.one(our, their, Take::Whole, Turn::Convolution);
    }
}

fn gated_linear(all: &mut Entries, gla: &GlaConfig, ours: &str, theirs: &str) {
    let projections = [
        "q_proj", "k_proj", "v_proj", "gk_proj", "b_proj", "g_proj", "o_proj",
    ];
    linear(all, ours, theirs, &projections.map(|name| (name, name)));
    let convolved = [
        ("q_conv", "conv_q"),
        ("k_conv", "conv_k"),
        ("v_conv", "conv_v"),
    ];
    convolutions(all, ours, theirs, &convolved);
    let vectors = [
        ("b_proj.bias", "b_proj.bias"),
        ("o_norm.weight", "g_norm_swish_gate.weight"),
    ];
    same(all, ours, theirs, &vectors);
    if gla.qk_norm != QkNorm::Length {
        let norms = ["q_norm.weight", "k_norm.weight"].map(|name| (name, name));
        same(all, ours, theirs, &norms);
    }
    let decay: &[_] = match gla.decay {
        DecayConfig::Softplus => &[("a_log", "A_log"), ("dt_bias", "dt_bias")],
        DecayConfig::LogSigmoid { .. } => &[("gk_proj.bias", "gk_proj.bias")],
    };
    same(all, ours, theirs, decay);
}

fn forgetting(all: &mut Entries, ours: &str, theirs: &str) {
    let projections = [
        "q_proj",
        "k_proj",
        "v_proj",
        "fgate_proj",
        "ogate_proj",
        "o_proj",
    ];
    linear(all, ours, theirs, &projections.map(|name| (name, name)));
    let convolved = ["k_conv", "v_conv"].map(|name| (name, name));
    convolutions(all, ours, theirs, &convolved);
    let vectors = [
        ("fgate_proj.bias", "fgate_proj.bias"),
        ("q_norm", "q_norm.weight"),
        ("k_norm", "k_norm.weight"),
        ("o_norm.weight", "output_norm.weight"),
    ];
    same(all, ours, theirs, &vectors);
}

fn metacognition(all: &mut Entries) {
    let name = "metacognition";
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
    linear(all, name, name, &projections);
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
    same(all, name, name, &vectors);
}
