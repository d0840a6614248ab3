//! The presets keep the promises of their names, and every file in `configs/` builds and runs.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::{Experiment, PRESETS};
use darkhorse_genesis::model::dtype::Dtype;
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::mixer::mla::MlaConfig;
use darkhorse_genesis::model::rope::RopeScaling;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig, Sequences};

/// Preset, total and active parameters, and the tolerance of the active count as a fraction.
const NAMEPLATES: [(&str, f64, f64, f64); 8] = [
    ("default", 100.9e6, 31.0e6, 0.02),
    ("1b", 1e9, 0.3e9, 0.05),
    ("3b", 3e9, 0.75e9, 0.05),
    ("5b", 5e9, 1.2e9, 0.05),
    ("genesis-13b", 13e9, 3.3e9, 0.02),
    ("30b", 30e9, 4.5e9, 0.05),
    ("100b", 100e9, 6.4e9, 0.05),
    ("500b", 500e9, 25.4e9, 0.05),
];

/// Presets that other engines can serve.
const SERVED: [&str; 6] = ["1b", "3b", "5b", "30b", "100b", "500b"];

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn model(preset: &str) -> ModelConfig {
    Experiment::preset(preset).unwrap().model
}

fn mla(model: &ModelConfig) -> &MlaConfig {
    model.mixer.mla.as_ref().unwrap()
}

/// Values of a model built without drawing random weights.
#[derive(Default)]
struct Values(usize);

impl Values {
    fn of(model: &ModelConfig) -> usize {
        let mut values = Self::default();
        CausalLm::<Selected>::init(model, 0, &Default::default()).visit(&mut values);
        values.0
    }
}

impl<B: Backend> ModuleVisitor<B> for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0 += param.lazy_shape().num_elements();
    }
}

fn assert_near(what: &str, count: u64, promised: f64, tolerance: f64) {
    let off = count as f64 / promised - 1.0;
    let share = off.abs();
    assert!(
        share <= tolerance,
        "{what}: {count}, {promised:e} promised, {off:+.3}"
    );
}

#[test]
fn every_preset_holds_what_its_name_promises() {
    for (preset, total, active, tolerance) in NAMEPLATES {
        let model = model(preset);
        assert_near(preset, model.num_params(), total, 0.02);
        assert_near(preset, model.num_active_params(), active, tolerance);
    }
    let tiny = model("tiny").num_params();
    assert!((2_000_000..=4_000_000).contains(&tiny), "tiny: {tiny}");
}

#[test]
fn the_documented_figures_are_those_of_the_files() {
    let flagship = model("5b");
    let billions = |count: u64| format!("{:.3}", count as f64 / 1e9);
    assert_eq!(billions(flagship.num_params()), "4.970");
    assert_eq!(billions(flagship.num_active_params()), "1.174");
    let largest = model("500b");
    assert_eq!(billions(largest.num_params()), "501.280");
    assert_eq!(billions(largest.num_active_params()), "25.441");
    assert_eq!(flagship.cache_bytes_per_token(Dtype::Bf16), 23_040);
    let cache_gib = (23_040u64 * 131_072) as f64 / f64::powi(2.0, 30);
    assert_eq!(format!("{cache_gib:.2}"), "2.81");
}

/// The table of parameter counts in the published package.
#[test]
fn genesis_has_the_parts_of_the_published_model() {
    let genesis = model("genesis-152m");
    assert_eq!(genesis.num_params(), 151_757_837);
    let parts = genesis.parameters();
    assert_eq!(parts.embedding, 28_960_704);
    assert_eq!(parts.head, 0);
    assert_eq!(parts.mixers, 34_659_597 + 10_127_551);
    assert_eq!(parts.dense, 74_649_600);
    assert_eq!(parts.norms, 34_560 + 576);
    assert_eq!(parts.metacognition, 3_325_249);
    let only = |kind| {
        let config = ModelConfig {
            layer_types: vec![kind],
            num_hidden_layers: 1,
            ..genesis.clone()
        };
        config.parameters().mixers
    };
    assert_eq!(only(MixerKind::Gla), 1_506_939);
    assert_eq!(only(MixerKind::Fox), 1_446_793);
    let plan = genesis.plan();
    let fox = |layer: usize| plan[layer].mixer == MixerKind::Fox;
    let layers: Vec<usize> = (0..30).filter(|&layer| fox(layer)).collect();
    assert_eq!(layers, [3, 7, 11, 15, 19, 23, 27]);
    let padded = ModelConfig {
        vocab_size: 50_304,
        ..genesis.clone()
    };
    assert_eq!(padded.num_params(), 151_772_237);

    assert_eq!(Values::of(&genesis), 151_757_837);
    // states and convolution inputs, current and previous, and the inputs of 16 reversible positions
    let (state, channels) = (9 * 48 * 96, 432 + 144 + 288);
    let linear = 2 * state + 2 * 3 * channels + 16 * 9 * (48 + 48 + 96 + 2) + (16 + 3) * channels;
    let forgetting = (16 + 3) * (192 + 576) + 9;
    let counted = 4 * (23 * linear + 7 * forgetting);
    assert_eq!(genesis.state_bytes(Dtype::F32), counted);
    assert_eq!(genesis.cache_values_per_token(), 7 * (192 + 576 + 9));
    // 12 heads of width 64 in whole blocks, and 9 sums of gates in f32
    let in_blocks = 7 * (12 * 2 * 34 + 9 * 4);
    assert_eq!(genesis.cache_bytes_per_token(Dtype::Q8), in_blocks);
    let sweetspot = model("genesis-sweetspot");
    assert_eq!(sweetspot.plan()[4].mixer, MixerKind::Fox);
    assert_eq!(sweetspot.intermediate_size, 2400);
    assert_eq!(Values::of(&sweetspot) as u64, sweetspot.num_params());
}

#[test]
fn other_engines_can_serve_the_shapes() {
    for preset in SERVED {
        let model = model(preset);
        let mla = mla(&model);
        let moe = model.moe.as_ref().unwrap();
        assert_eq!(
            (mla.kv_lora_rank, mla.qk_rope_head_dim),
            (512, 64),
            "{preset}"
        );
        assert_eq!(
            (mla.qk_nope_head_dim, mla.v_head_dim),
            (128, 128),
            "{preset}"
        );
        assert_eq!(moe.moe_intermediate_size % 256, 0, "{preset}");
        assert_eq!(model.intermediate_size % 256, 0, "{preset}");
        assert_eq!(model.hidden_size % 256, 0, "{preset}");
        assert!(![26, 27].contains(&model.num_hidden_layers), "{preset}");
        let groups = (moe.router.topk_group, moe.router.n_group);
        assert!(groups == (1, 1) || groups.0 < groups.1, "{preset}");
        assert_eq!(model.rms_norm_eps, 1e-6, "{preset}");
        assert_eq!(model.num_nextn_predict_layers, 1, "{preset}");
    }
}

#[test]
fn the_context_reaches_128k_by_yarn() {
    for preset in SERVED {
        let model = model(preset);
        assert_eq!(model.max_position_embeddings, 131_072, "{preset}");
        let Some(RopeScaling::Yarn(yarn)) = &model.rope.rope_scaling else {
            panic!("{preset}: no YaRN");
        };
        assert_eq!(
            yarn.factor * yarn.original_max_position_embeddings as f64,
            131_072.0
        );
        assert_eq!((yarn.mscale, yarn.mscale_all_dim), (Some(1.0), Some(1.0)));
    }
}

#[test]
fn every_domain_has_experts_of_its_own_in_every_preset() {
    for preset in PRESETS {
        let model = model(preset);
        let Some(moe) = model.moe else {
            continue;
        };
        let assisted = model.domains.mode != DomainMode::Off;
        assert!(!assisted || moe.n_routed_experts >= 10, "{preset}");
    }
}

#[test]
fn mixtures_that_are_compared_differ_in_their_routing_and_not_in_what_a_token_costs() {
    let compared = ["genesis-moe-tiny", "mixtral-tiny", "deepseek-tiny"].map(model);
    let rules = compared
        .each_ref()
        .map(|model| &model.moe.as_ref().unwrap().router);
    assert!(rules[0] != rules[1] && rules[0] != rules[2] && rules[1] != rules[2]);
    let active = compared.each_ref().map(ModelConfig::num_active_params);
    for (count, model) in active.into_iter().zip(&compared) {
        // only the number of rows in the routers differs
        assert_near("active", count, active[0] as f64, 0.005);
        assert_eq!(
            (
                model.num_hidden_layers,
                &model.mixer,
                &model.rope,
                model.vocab_size
            ),
            (4, &compared[0].mixer, &compared[0].rope, 2048)
        );
    }
}

#[test]
fn a_written_experiment_reads_back_as_it_was() {
    for preset in PRESETS {
        let experiment = Experiment::preset(preset).unwrap();
        let json = experiment.to_json_pretty().unwrap();
        assert_eq!(Experiment::from_json(&json).unwrap(), experiment);
    }
}

#[test]
fn every_preset_is_a_file_and_an_unknown_name_lists_them() {
    for preset in PRESETS {
        let path = files()
            .into_iter()
            .find(|path| path.file_stem().unwrap() == preset)
            .unwrap();
        let loaded = Experiment::load(path).unwrap();
        assert_eq!(loaded, Experiment::preset(&preset.to_uppercase()).unwrap());
    }
    assert_eq!(
        Experiment::preset("7b").unwrap_err().to_string(),
        "unknown preset `7b`, expected one of: tiny, genesis-moe-tiny, mixtral-tiny, deepseek-tiny, genesis-tiny, darkhorse-hybrid, default, genesis-152m, genesis-sweetspot, 1b, 3b, 5b, genesis-13b, 30b, 100b, 500b"
    );
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_reason() {
    use std::error::Error;
    let error = Experiment::load("no/such/file.json").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the config `no/such/file.json`"
    );
    assert!(error.source().unwrap().to_string().contains("No such file"));
}

/// A model with one layer of each mixer from `model`, small enough to build anywhere, although the largest config's
/// takes about a gigabyte. Reduced are the number of layers, the vocabulary, the number of experts (four, two per
/// token) and, for models wider than 1024, the MTP modules. Every width of a layer is kept.
fn one_layer(model: &ModelConfig) -> ModelConfig {
    let mut reduced = model.clone();
    // keeps one layer of each run of equal mixers
    reduced.layer_types.dedup();
    reduced.num_hidden_layers = reduced.layer_types.len();
    reduced.vocab_size = 256;
    if model.hidden_size > 1024 {
        reduced.num_nextn_predict_layers = 0;
    }
    if let Some(moe) = &mut reduced.moe {
        reduced.first_k_dense_replace = 0;
        moe.n_routed_experts = 4;
        moe.num_experts_per_tok = 2;
        moe.router.n_group = 1;
        moe.router.topk_group = 1;
        reduced.domains.expert_domains = None;
    }
    reduced
}

#[test]
fn a_layer_of_every_file_builds_and_runs() {
    for path in files() {
        let full = Experiment::load(&path).unwrap().model;
        let reduced = one_layer(&full);
        reduced.validate().unwrap();
        let bytes = reduced.weight_bytes(Dtype::F32);
        assert!(bytes < 1_500_000_000, "{}: {bytes} bytes", path.display());

        let device = Default::default();
        let model = CausalLm::<Selected>::init(&reduced, 0, &device);
        let ids = Tensor::<Selected, 2, Int>::from_ints([[1, 2, 3, 250]], &device);
        let logits = model.forward(&Sequences::plain(ids));

        assert_eq!(logits.dims(), [1, 4, 256], "{}", path.display());
        let values = logits.into_data().to_vec::<f32>().unwrap();
        assert!(
            values.iter().all(|value| value.is_finite()),
            "{}",
            path.display()
        );
    }
}
