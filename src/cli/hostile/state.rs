//! The training state in a checkpoint, read by resuming the run.

use std::fs;
use std::path::Path;

use burn::backend::Autodiff;
use darkhorse_backends::select::{self, Selected};
use serde_json::{Value, json};

use super::formats::{Case, find};
use super::mutation::Kind;
use crate::checkpoint::Run;
use crate::cli::failure::{Failure, OrInput};
use crate::config::{Experiment, TokenizerConfig};
use crate::data::Progress;
use crate::run::Job;
use crate::run::RunError;
use crate::run::Screen;
use crate::tokenizer::Tokenizer;

const CACHE: &str = "cache";
const FILES: [&str; 2] = ["state.json", "optimizer.safetensors"];

/// Runs of one step, each with another file of the state to be changed.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let experiment = experiment(folder.path());
        let path = folder.path().join("run");
        let cache = folder.path().join(CACHE);
        train(Job::create(experiment, &path, &cache, Progress::Hidden)).unwrap();
        let target = find(&path, name).unwrap();
        Case {
            seed: fs::read(&target).unwrap(),
            kind: if name.ends_with(".json") {
                Kind::Json
            } else {
                Kind::Safetensors
            },
            target,
            path,
            read: go_on,
            beside: 1 << 20,
            constant: 64 << 20,
            _folder: folder,
        }
    };
    FILES.map(case).into()
}

/// A minimal model with experts, on a few documents in `folder`.
fn experiment(folder: &Path) -> Experiment {
    let documents = folder.join("mine.jsonl");
    let line = |number| format!("{}\n", json!({"text": format!("text {number}")}));
    fs::write(&documents, (0..8).map(line).collect::<String>()).unwrap();
    let tokenizer = folder.join("tokenizer.json");
    Tokenizer::bytes().save(&tokenizer).unwrap();
    let mut experiment: Experiment = serde_json::from_value(json!({
        "model": {
            "vocab_size": 280, "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8,
            "first_k_dense_replace": 1, "layer_types": ["gqa"],
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "moe": {
                "n_routed_experts": 10, "num_experts_per_tok": 1, "moe_intermediate_size": 4, "n_shared_experts": 1
            },
            "rope": {"rope_theta": 10000.0}, "max_position_embeddings": 16,
        },
        "training": {"steps": 1, "batch_size": 1, "seq_len": 16, "checkpoint_every": 1},
    }))
    .unwrap();
    experiment.tokenizer = TokenizerConfig::File(tokenizer);
    experiment.data.train = vec![documents];
    experiment.data.valid_share = Some(0.0);
    experiment
}

fn train(job: Result<Job, RunError>) -> Result<(), Failure> {
    let device = select::default_device();
    let trained = job
        .or_input()?
        .train::<Autodiff<Selected>>(&device, Screen::Nothing);
    trained.or_input().map(drop)
}

/// Trains one more step of a run whose manifest matches its files.
fn go_on(path: &Path) -> Result<(), Failure> {
    seal(path);
    let resume = || {
        let run = Run::open(path).or_input()?;
        let mut experiment: Experiment = run.config().or_input()?;
        experiment.training.steps = 2;
        let cache = path.with_file_name(CACHE);
        train(Job::resume(experiment, run, &cache, Progress::Hidden))
    };
    let result = resume();
    Run::open(path).unwrap().rewind(1).unwrap();
    result
}

/// Rewrites the manifest to match the changed files, so that only their content can be refused.
fn seal(path: &Path) {
    let manifest = find(path, "manifest.json").unwrap();
    let mut json: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    for file in json["files"].as_array_mut().unwrap() {
        let bytes = fs::read(manifest.with_file_name(file["name"].as_str().unwrap())).unwrap();
        file["bytes"] = bytes.len().into();
        file["blake3"] = blake3::hash(&bytes).to_hex().as_str().into();
    }
    // a manifest without its own digest passes as one of an older version
    json.as_object_mut().unwrap().remove("digest");
    fs::write(&manifest, json.to_string()).unwrap();
}
