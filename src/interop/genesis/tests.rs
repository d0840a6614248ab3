//! Checkpoints that are refused, and the messages.

use std::path::Path;

use super::names::plain_name;
use super::{CONFIG_KEY, GenesisConfig, is_checkpoint, write};
use crate::interop::hugging_face::HfFolder;
use crate::interop::{ForeignModel, ForeignTokenizer};
use crate::model::mixer::MixerKind;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");

fn model(change: impl FnOnce(&mut GenesisConfig)) -> String {
    let mut config = GenesisConfig::default();
    change(&mut config);
    match config.model(Path::new("x.safetensors")) {
        Ok(_) => "nothing".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_defaults_of_the_package_are_a_model() {
    assert_eq!(model(|_| ()), "nothing");
}

#[test]
fn widths_that_heads_do_not_divide_are_refused() {
    assert_eq!(
        model(|it| it.gla_expand_k = 1.3),
        "x.safetensors: `gla_expand_k` is 1.3, expected a width that `n_head` = 12 divides, not 998"
    );
    assert_eq!(
        model(|it| it.n_kv_head = 5),
        "x.safetensors: `n_kv_head` is 5, expected a divisor of `n_head` = 12"
    );
    assert!(model(|it| it.use_fox_pro = false).contains("`use_fox_pro` is false, expected true"));
}

#[test]
fn missing_keys_take_the_default_and_unknown_ones_are_listed() {
    let json = r#"{"n_embd": 576, "head_dim": 12, "flux": 1}"#;
    let (config, unknown) = GenesisConfig::parse(Path::new("x"), json).unwrap();
    assert_eq!((config.n_embd, config.n_layer), (576, 12));
    assert_eq!(unknown, ["flux"]);
}

#[test]
fn intervals_of_layers_are_truncated() {
    for (ratio, interval) in [(0.25, 4), (0.1875, 5), (0.4, 2), (1.0, 1)] {
        let config = GenesisConfig {
            hybrid_full_attn_ratio: ratio,
            ..Default::default()
        };
        let model = config.model(Path::new("x")).unwrap();
        assert_eq!(model.layer_types.len(), interval);
    }
}

#[test]
fn files_of_other_kinds_are_told_apart() {
    let open = |name: &str| HfFolder::open(Path::new(FIXTURES).join(name));
    let at = |name: &str| open(name).is_ok_and(|file| is_checkpoint(&file));
    assert!(at("genesis152m/tiny_genesis.safetensors"));
    assert!(!at("deepseek_v3_plain/model.safetensors"));
    assert!(!at("genesis152m/config.json"));
    assert!(!at("nothing.safetensors"));
}

#[test]
fn one_parameter_has_one_name_however_the_package_spells_it() {
    let of = |name: &str, is_tied, has_head| plain_name(name, is_tied, has_head);
    let fused = "blocks.0.attn.g_norm_swish_gate.weight";
    for name in ["blocks.0.attn.g_norm.weight", fused] {
        assert_eq!(of(name, true, false).as_deref(), Some(fused));
    }
    let (table, head) = ("tok_emb.weight", "lm_head.weight");
    // a head of its own, a tied model that was saved with both, and one without the head
    assert_eq!(of(table, false, true).as_deref(), Some(table));
    assert_eq!(of(head, false, true).as_deref(), Some(head));
    assert_eq!(of(table, true, true), None);
    assert_eq!(of(head, true, true).as_deref(), Some(table));
    assert_eq!(of(table, true, false).as_deref(), Some(table));
}

#[test]
fn an_adapter_is_refused_and_a_tokenizer_beside_is_found_without_its_chat() {
    let source = Path::new(FIXTURES).join("genesis152m/tiny_genesis.safetensors");
    let adapter = Path::new(FIXTURES).join("adapter_llama");
    let error = ForeignModel::open_with(&source, Some(&adapter)).unwrap_err();
    let expected = "tiny_genesis.safetensors: a Genesis checkpoint, whose tensors have other names than an adapter's, \
                    expected a model of Hugging Face beside `--adapter`";
    assert!(error.to_string().ends_with(expected), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("x.safetensors");
    std::fs::copy(source, &model).unwrap();
    let tokenizer = || ForeignModel::open(&model).unwrap().tokenizer.unwrap();
    assert_eq!(tokenizer(), None);
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(tokenizer(), Some(ForeignTokenizer::WithoutChat(file)));
}

#[test]
fn a_file_without_its_configuration_is_refused() {
    let source = Path::new(FIXTURES).join("genesis152m/tiny_genesis.safetensors");
    let mut bytes = std::fs::read(source).unwrap();
    let key = CONFIG_KEY.as_bytes();
    let place = bytes.windows(key.len()).position(|it| it == key).unwrap();
    bytes[place] = b'G';
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let error = ForeignModel::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("no `genesis_config_json` in its metadata"),
        "{error}"
    );
}

#[test]
fn what_is_written_is_read_back_as_it_was() {
    let source = Path::new(FIXTURES).join("genesis152m/tiny_genesis.safetensors");
    let ForeignModel {
        config, weights, ..
    } = ForeignModel::open(&source).unwrap();
    let (source, model) = (weights.as_ref(), &config.model);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("copy.safetensors");
    write(&target, source, model, None).unwrap();
    let file = HfFolder::open(&target).unwrap();
    let (_, unknown) = GenesisConfig::parse(&target, file.metadata(CONFIG_KEY).unwrap()).unwrap();
    assert!(unknown.is_empty());
    let copy = ForeignModel::open(&target).unwrap();
    assert_eq!(copy.config.model, *model);
    let copy = copy.weights.as_ref();
    assert_eq!(copy.names(), source.names());
    for name in source.names() {
        let [copy, source] = [copy, source].map(|it| it.data(&name).unwrap());
        assert_eq!(copy, source, "{name}");
    }
    let error = write(&target, source, model, None).unwrap_err();
    assert!(error.to_string().contains("a file that exists"), "{error}");
}

#[test]
fn every_configuration_of_the_package_survives_the_way_there_and_back() {
    let changes: [fn(&mut GenesisConfig); 8] = [
        |_| (),
        |it| (it.n_embd, it.n_head, it.n_kv_head, it.gla_expand_k) = (576, 9, 3, 0.75),
        |it| it.hybrid_full_attn_ratio = 1.0 / 49.0,
        |it| it.hybrid_full_attn_ratio = 0.0,
        |it| it.gla_qk_norm = "rms".into(),
        |it| it.gla_use_mamba_gate = false,
        |it| (it.use_ttt, it.use_selective_activation) = (false, false),
        |it| (it.use_mup, it.tie_word_embeddings, it.n_layer) = (true, false, 60),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut config = GenesisConfig::default();
        change(&mut config);
        let path = Path::new("x");
        let model = config.model(path).unwrap();
        let again = GenesisConfig::of(&model, path)
            .unwrap()
            .model(path)
            .unwrap();
        let kinds = |model: &crate::model::ModelConfig| -> Vec<MixerKind> {
            model.plan().into_iter().map(|layer| layer.mixer).collect()
        };
        assert_eq!(kinds(&again), kinds(&model), "change {number}");
        let plan = model.layer_types.clone();
        let again = crate::model::ModelConfig {
            layer_types: plan,
            ..again
        };
        assert_eq!(again, model, "change {number}");
    }
}

#[test]
fn a_model_of_another_family_is_not_written_and_told_why() {
    let path = Path::new("x.safetensors");
    let model = GenesisConfig::default().model(path).unwrap();
    let other = crate::model::ModelConfig {
        rms_norm_eps: 1e-6,
        intermediate_size: 7,
        ..model
    };
    let error = GenesisConfig::of(&other, path).unwrap_err().to_string();
    assert!(
        error.contains("`intermediate_size`: 7, where the package has 1920"),
        "{error}"
    );
}

#[test]
fn what_matters_in_training_alone_is_told_and_not_refused() {
    let config = GenesisConfig {
        dropout: 0.1,
        use_segment_recurrence: true,
        ..Default::default()
    };
    assert!(config.model(Path::new("x")).is_ok());
    let lines = config.not_done();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("`dropout` is 0.1"), "{lines:?}");
    assert!(GenesisConfig::default().not_done().is_empty());
}
