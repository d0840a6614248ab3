//! `plan --model` counts the parameters of published models from their configurations alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{plan, refused, shown};

/// A model, its published total, its published active parameters with their precision, and the key in the output of
/// `plan` that counts in the same way. `tests/fixtures/published/README.md` has the sources.
const MODELS: [(&str, [f64; 2], [f64; 2], &str); 7] = [
    (
        "moonlight-16b-a3b",
        [16e9, 1e9],
        [2.24e9, 1e7],
        "active_without_tables",
    ),
    ("deepseek-v2-lite", [15.7e9, 1e8], [2.4e9, 1e8], "active"),
    ("deepseek-v3", [671e9, 1e9], [37e9, 1e9], "active"),
    ("kimi-k2", [1e12, 1e12], [32e9, 1e9], "active"),
    (
        "qwen3-30b-a3b",
        [30.5e9, 1e8],
        [3.3e9, 1e8],
        "active_with_tables",
    ),
    (
        "olmoe-1b-7b",
        [6.9e9, 1e8],
        [1.3e9, 1e8],
        "active_with_tables",
    ),
    (
        "mixtral-8x7b",
        [46.7e9, 1e8],
        [12.9e9, 1e8],
        "active_with_tables",
    ),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn parameters(model: &Path) -> Value {
    plan(&["--model", model.to_str().unwrap()])["parameters"].take()
}

#[test]
fn plan_counts_what_was_published_of_models() {
    for (name, total, active, key) in MODELS {
        let file = fixtures().join("published").join(format!("{name}.json"));
        let counted = parameters(&file);
        for (key, [published, digit]) in [("total", total), (key, active)] {
            let count = counted[key].as_f64().unwrap();
            assert!((count - published).abs() < digit, "{name}: {key} {count}");
        }
        let tables = ["active_without_tables", "active", "active_with_tables"];
        let ways = tables.map(|key| counted[key].as_u64().unwrap());
        assert!(
            ways.is_sorted() && ways[1] - ways[0] == ways[2] - ways[1],
            "{ways:?}"
        );
    }
}

#[test]
fn plan_takes_a_folder_a_file_and_a_gguf_alike_and_reads_no_weights() {
    let source = fixtures().join("deepseek_v3_plain");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    fs::copy(source.join("config.json"), &config).unwrap();
    let expected = parameters(&source);
    assert_eq!(parameters(folder.path()), expected);
    assert_eq!(parameters(&config), expected);
    let gguf = fixtures().join("gguf_deepseek_v3_plain/model.gguf");
    assert_eq!(parameters(&gguf)["total"], expected["total"]);
    let text = shown(&["plan", "--model", config.to_str().unwrap()]);
    assert!(
        text.contains("active with the tables of embedding and head: "),
        "{text}"
    );
    // a run's config.json holds an experiment instead
    let preset = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.json");
    let tiny = plan(&["--params", "tiny"])["parameters"].take();
    assert_eq!(parameters(&preset), tiny);
}

#[test]
fn plan_refuses_what_is_no_model_in_one_line() {
    let line = |path: &Path| refused(&["plan", "--model", path.to_str().unwrap()]);
    let missing = line(Path::new("no/model"));
    assert!(
        missing.starts_with("no/model: ") && missing.contains("`config.json`"),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    let empty = line(folder.path());
    assert!(empty.contains("config.json: "), "{empty}");
    let file = folder.path().join("config.json");
    fs::write(&file, r#"{"model_type": "gpt2"}"#).unwrap();
    assert!(line(&file).contains("`model_type` is \"gpt2\""));
    fs::write(&file, "{").unwrap();
    assert!(line(&file).contains("config.json: EOF"));
    fs::write(&file, r#"{"model": {}}"#).unwrap();
    assert!(line(&file).contains("config.json`: missing key `model.vocab_size`"));
}
