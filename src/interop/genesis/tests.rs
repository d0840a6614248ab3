//! What is refused, and with which words.

use std::path::Path;

use super::{GenesisCheckpoint, GenesisConfig};

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
    let at = |name: &str| GenesisCheckpoint::is_at(&Path::new(FIXTURES).join(name));
    assert!(at("genesis152m/tiny_genesis.safetensors"));
    assert!(!at("deepseek_v3_plain/model.safetensors"));
    assert!(!at("genesis152m/config.json"));
    assert!(!at("nothing.safetensors"));
}

#[test]
fn a_file_without_its_configuration_is_refused() {
    let source = Path::new(FIXTURES).join("genesis152m/tiny_genesis.safetensors");
    let mut bytes = std::fs::read(source).unwrap();
    let key = super::CONFIG_KEY.as_bytes();
    let place = bytes.windows(key.len()).position(|it| it == key).unwrap();
    bytes[place] = b'G';
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, bytes).unwrap();
    assert!(GenesisCheckpoint::is_at(&path));
    let error = GenesisCheckpoint::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("no `genesis_config_json` in its metadata"),
        "{error}"
    );
}
