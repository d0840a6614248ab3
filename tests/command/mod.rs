//! Calls of the program as a user makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
        .args(arguments)
        // the cache of tokenized texts is created here
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

pub(crate) fn shown(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    errors
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Reads a JSON file.
pub(crate) fn json(path: PathBuf) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The output file of `logits` for a model and the ids of a fixture.
pub(crate) fn logits(model: &Path, of: &str) -> Vec<u8> {
    logits_with(model, of, &[])
}

/// The output file of `logits` with additional arguments.
pub(crate) fn logits_with(model: &Path, of: &str, more: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let ids = fixture(of).join("fixture.safetensors");
    let (model, ids) = (text(model), text(&ids));
    let all = ["--hidden", "--routing", "--out", text(&out)];
    shown(
        &[
            &["logits", "--model", model, "--ids-file", ids],
            &all[..],
            more,
        ]
        .concat(),
    );
    fs::read(out).unwrap()
}
