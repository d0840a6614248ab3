//! Logits that are not finite cause an error that names where they began.

use std::fs;
use std::path::Path;

use crate::model::{broken, broken_run};
use crate::program::{Program, text};

const DOWN: &str = "layers.1.feed_forward.down_proj.weight";

/// The one-line error of `arguments` for a model.
fn error(model: &Path, arguments: &[&str]) -> String {
    let (command, rest) = arguments.split_first().unwrap();
    let model = ["--model", text(model)];
    let program = Program::new(&[&[*command], &model[..], rest].concat());
    // input of `chat`; other commands ignore it
    let output = program.reading("hi\n").run();
    assert_eq!(output.code, Some(2), "{arguments:?}: {}", output.errors);
    let mut lines = output
        .errors
        .lines()
        .filter(|line| line.starts_with("error: "));
    let line = lines.next().unwrap_or_else(|| panic!("{}", output.errors));
    assert_eq!(lines.next(), None, "{}", output.errors);
    line.to_owned()
}

const SAMPLED: &[&str] = &["inference", "--ids", "5,6,7", "--print-ids"];
const GREEDY: &[&str] = &[
    "inference",
    "--ids",
    "5,6,7",
    "--print-ids",
    "--temperature",
    "0",
];

#[test]
fn a_weight_that_is_no_number_is_named_by_whatever_reads_logits() {
    let folder = tempfile::tempdir().unwrap();
    let model = broken_run(folder.path(), "llama_tied", DOWN, f32::NAN);
    let expected = "error: the logits are not finite: NaN first comes from the feed-forward of layer 1, \
                    whose weights `layers.1.feed_forward.down_proj.weight` are not finite";
    for arguments in [SAMPLED, GREEDY] {
        let line = error(&model, arguments);
        assert!(line.starts_with(expected), "{line}");
    }
    let ids = crate::model::fixture("llama_tied").join("fixture.safetensors");
    let out = folder.path().join("out.safetensors");
    let line = error(
        &model,
        &["logits", "--ids-file", text(&ids), "--out", text(&out)],
    );
    assert!(line.starts_with(expected), "{line}");
    assert!(!out.exists());

    let data = folder.path().join("data.jsonl");
    fs::write(&data, "{\"text\": \"some words of it\"}\n").unwrap();
    let line = error(&model, &["evaluate", "--data", text(&data)]);
    assert!(line.starts_with(expected), "{line}");
    let line = error(&model, &["chat"]);
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn weights_that_are_too_large_are_named_with_the_type_that_they_outgrow() {
    let folder = tempfile::tempdir().unwrap();
    let norm = "model.layers.1.input_layernorm.weight";
    let model = broken(folder.path(), "llama_tied", norm, 1e38);
    let line = error(&model, SAMPLED);
    assert!(
        line.contains("first comes from the mixer of layer 1"),
        "{line}"
    );
    assert!(line.contains("values outgrow f32"), "{line}");
    assert!(
        line.contains("its largest weight is 1e38, in `layers.1.input_layernorm.weight`"),
        "{line}"
    );
}

#[test]
fn a_cache_that_is_too_narrow_is_told_from_a_broken_model() {
    let folder = tempfile::tempdir().unwrap();
    let bias = "model.layers.0.self_attn.v_proj.bias";
    let model = broken(folder.path(), "llama_tied", bias, 1e6);
    let wide = [&["inference", "--model", text(&model)], &GREEDY[1..]].concat();
    assert_eq!(Program::new(&wide).run().code, Some(0));
    let line = error(&model, &[GREEDY, &["--cache-dtype", "f16"]].concat());
    assert!(line.contains("first comes from the cache"), "{line}");
    assert!(line.contains("--cache-dtype f32"), "{line}");
}

#[test]
fn a_module_that_drafts_is_named_where_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let norm = "mtp.0.enorm.weight";
    let model = broken_run(folder.path(), "deepseek_v3_mtp", norm, f32::INFINITY);
    let plain = [&["inference", "--model", text(&model)], &GREEDY[1..]].concat();
    assert_eq!(Program::new(&plain).run().code, Some(0));
    let line = error(
        &model,
        &[GREEDY, &["--speculative", "--always-draft"]].concat(),
    );
    assert!(
        line.contains("first comes from multi-token prediction module 0"),
        "{line}"
    );
    assert!(
        line.contains("`mtp.0.enorm.weight` are not finite"),
        "{line}"
    );
}
