//! A run that is interrupted and resumed is the run that was not.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::{DataConfig, Experiment, TokenizerConfig};
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::telemetry::{Record, read_journal};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::TrainingConfig;
use darkhorse_genesis::training::error::TrainingError;
use darkhorse_genesis::training::job::{Job, Screen};

const STEPS: u64 = 12;

/// A small experiment with its text, in `folder`.
fn experiment(folder: &Path) -> Experiment {
    let lines = (0..60).map(|number| {
        let domain = Domain::ALL[number % Domain::COUNT];
        let text = format!(
            "{domain} document {number}: {}",
            "words and more ".repeat(1 + number % 7)
        );
        format!(
            "{}\n",
            serde_json::json!({"domain": domain.name(), "text": text})
        )
    });
    let data = folder.join("documents.jsonl");
    fs::write(&data, lines.collect::<String>()).expect("the folder can be written to");
    let tokenizer = folder.join("tokenizer.json");
    Tokenizer::bytes()
        .save(&tokenizer)
        .expect("the folder can be written to");
    Experiment {
        model: support::byte_config(DomainMode::Soft),
        tokenizer: TokenizerConfig::File(tokenizer),
        data: DataConfig {
            train: vec![data.clone()],
            valid: vec![data],
            ..Default::default()
        },
        training: TrainingConfig {
            steps: STEPS,
            batch_size: 2,
            seq_len: 48,
            accumulation: 2,
            eval_every: 0,
            eval_batches: 1,
            checkpoint_every: 3,
            keep_checkpoints: 8,
            ..Default::default()
        },
    }
}

fn train(job: Result<Job, TrainingError>) {
    let job = job.expect("the experiment is sound");
    job.train::<Autodiff<Selected>>(&default_device(), Screen::Lines)
        .expect("the run ends well");
}

fn losses(run: &Path) -> Vec<(u64, f64)> {
    let records = read_journal(run.join("metrics.jsonl")).expect("the journal is sound");
    let steps = records.into_iter().filter_map(|record| match record {
        Record::Step(step) => Some((step.step, step.loss)),
        Record::Eval(_) => None,
    });
    steps.collect()
}

/// Digests of weights and moments in the last checkpoint, and where the data stands.
fn last_checkpoint(run: &Path) -> (Vec<String>, serde_json::Value) {
    let run = Run::open(run).expect("the run is there");
    let latest = run.latest().expect("the checkpoint is sound");
    let checkpoint = latest.expect("there is one");
    assert_eq!(checkpoint.step(), STEPS);
    let digest = |name| {
        let bytes = checkpoint.bytes(name).expect("the file is there");
        blake3::hash(&bytes).to_hex().to_string()
    };
    let state: serde_json::Value = checkpoint.json("state.json").expect("the file is JSON");
    (
        ["model.safetensors", "optimizer.safetensors"]
            .map(digest)
            .to_vec(),
        state["position"].clone(),
    )
}

#[test]
fn two_halves_are_bit_identical_to_the_whole() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    let cache = folder.path().join("cache");
    let experiment = experiment(folder.path());
    train(Job::create(
        experiment.clone(),
        &whole,
        &cache,
        Progress::Hidden,
    ));

    train(Job::create(
        experiment.clone(),
        &halves,
        &cache,
        Progress::Hidden,
    ));
    // as if killed in the middle of step 8: the checkpoint of step 6 is the last
    let run = Run::open(&halves).expect("the run is there");
    run.rewind(6).expect("older checkpoints are kept");
    train(Job::resume(experiment, run, &cache, Progress::Hidden));

    assert_eq!(losses(&whole), losses(&halves));
    assert_eq!(last_checkpoint(&whole), last_checkpoint(&halves));
}

fn spawn(config: &Path, run: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
        .args(["train", "--config"])
        .arg(config)
        .arg("--out")
        .arg(run)
        .args(arguments)
        .current_dir(run.parent().expect("the run has a parent"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary is there")
}

#[test]
fn a_run_killed_at_any_moment_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let mut experiment = experiment(folder.path());
    experiment.training.steps = 400;
    experiment.training.checkpoint_every = 2;
    let config = folder.path().join("config.json");
    let json = experiment
        .to_json_pretty()
        .expect("the experiment has a JSON form");
    fs::write(&config, json).expect("the folder can be written to");
    let run = folder.path().join("killed");

    let newest = |run: &Path| {
        let run = Run::open(run).ok()?;
        run.latest().expect("every complete checkpoint is sound")
    };
    let mut child = spawn(&config, &run, &[]);
    let mut reached = 0;
    for kill in 0..20u64 {
        // moments spread over training steps and saves, once there is something to lose
        let begin = Instant::now();
        while newest(&run).map_or(0, |saved| saved.step()) <= reached {
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "kill {kill}: no progress"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(kill * 7 % 50));
        child.kill().expect("the process is running");
        child.wait().expect("the process is ours");

        let saved = newest(&run).expect("a checkpoint is left").step();
        assert!(saved > reached, "kill {kill}: {saved} after {reached}");
        let last = losses(&run).last().expect("steps were recorded").0;
        assert!(
            last <= saved + 2,
            "kill {kill}: step {last} was done, {saved} is saved"
        );
        reached = saved;
        child = spawn(&config, &run, &["--resume"]);
    }
    child.kill().expect("the process is running");
    child.wait().expect("the process is ours");
}
