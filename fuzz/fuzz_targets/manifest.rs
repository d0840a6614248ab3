//! The manifest of a checkpoint, and the files that it names.
#![no_main]

use std::fs;

use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::Experiment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run");
    let experiment = Experiment::preset("tiny").expect("a preset");
    let run = Run::create(&path, &experiment, None).expect("a new folder");
    let checkpoint = path.join("checkpoints").join("step-0000001");
    fs::create_dir_all(&checkpoint).expect("a temporary folder");
    fs::write(checkpoint.join("manifest.json"), bytes).expect("a temporary file");
    if let Ok(Some(saved)) = run.newest() {
        let _ = saved.verify();
    }
});
