//! Runs whose processes are killed, whose disk fails and whose bytes change.
//!
//! By default a sample of the faults is tested; with `DARKHORSE_FAULTS=all` every operation and more bytes.

#[cfg(target_os = "linux")]
mod disk;
mod flips;
mod processes;

use std::fs;
use std::path::{Path, PathBuf};

use darkhorse_genesis::config::Experiment;

/// Whether all faults are tested.
fn all() -> bool {
    std::env::var("DARKHORSE_FAULTS").is_ok_and(|it| it == "all")
}

/// A run of three steps that saves after each step and keeps one checkpoint.
fn experiment(folder: &Path) -> Experiment {
    let mut experiment = super::experiment(folder);
    experiment.training.steps = 3;
    experiment.training.checkpoint_every = 1;
    experiment.training.keep_checkpoints = 1;
    experiment.training.accumulation = 1;
    experiment
}

/// Writes an experiment as a file for `--config`.
fn write_config(experiment: &Experiment, folder: &Path) -> PathBuf {
    let path = folder.join("experiment.json");
    let json = experiment
        .to_json_pretty()
        .expect("the experiment has a JSON form");
    fs::write(&path, json).expect("the folder can be written to");
    path
}

/// Copies a folder recursively.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be written to");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the folder can be written to");
        }
    }
}
