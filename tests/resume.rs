//! An interrupted and resumed run equals one that was not interrupted.

mod faults;
mod sequences;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::checkpoint::{Checkpoint, FileEntry, Run};
use darkhorse_genesis::config::{DataConfig, Experiment, TokenizerConfig};
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::lora::LoraConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::weights::WeightSource;
use darkhorse_genesis::run::RunError;
use darkhorse_genesis::run::Screen;
use darkhorse_genesis::run::{Given, Job};
use darkhorse_genesis::telemetry::{Record, read_journal};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::mitosis::{MitosisConfig, Mode, Schedule, StressRule};
use darkhorse_genesis::training::{Precision, TrainingConfig};

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

fn train(job: Result<Job, RunError>) {
    let job = job.expect("the experiment is sound");
    job.train::<Autodiff<Selected>>(&default_device(), Screen::Lines)
        .expect("the run ends well");
}

fn losses(run: &Path) -> Vec<(u64, f64)> {
    let records = read_journal(run.join("metrics.jsonl")).expect("the journal is sound");
    let steps = records.into_iter().filter_map(|record| match record {
        Record::Step(step) => Some((step.step, step.loss)),
        _ => None,
    });
    steps.collect()
}

/// Every file of an intact checkpoint with its digest, and the digest of the run's configuration.
fn contents(checkpoint: &Checkpoint) -> (String, Vec<FileEntry>) {
    checkpoint.verify().expect("the checkpoint is sound");
    let manifest = checkpoint.manifest();
    let mut files = manifest.files.clone();
    files.sort_by(|left, right| left.name.cmp(&right.name));
    let names: Vec<&str> = files.iter().map(|file| &file.name[..]).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json"
        ]
    );
    (manifest.config_digest.clone(), files)
}

/// Files and digests of the last checkpoint.
fn last_checkpoint(run: &Path) -> (String, Vec<FileEntry>) {
    let run = Run::open(run).expect("the run is there");
    let latest = run.latest().expect("the checkpoint is sound");
    let checkpoint = latest.expect("there is one");
    assert_eq!(checkpoint.step(), STEPS);
    contents(&checkpoint)
}

/// Steps after which experts divided.
fn divisions(run: &Path) -> Vec<u64> {
    let run = Run::open(run).expect("the run is there");
    let records = read_journal(run.metrics_path()).expect("the journal is whole");
    let events = records.into_iter().filter_map(|record| match record {
        Record::Mitosis(event) if !event.divisions.is_empty() => Some(event.step),
        _ => None,
    });
    events.collect()
}

fn halves_are_the_whole(precision: Precision) {
    halves_are_the_whole_of(|experiment| experiment.training.precision = precision);
}

/// Returns the steps after which experts divided.
fn halves_are_the_whole_of(change: impl FnOnce(&mut Experiment)) -> Vec<u64> {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    let cache = folder.path().join("cache");
    let mut experiment = experiment(folder.path());
    change(&mut experiment);
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
    assert_eq!(divisions(&whole), divisions(&halves));
    divisions(&whole)
}

#[test]
fn two_halves_are_bit_identical_to_the_whole() {
    halves_are_the_whole(Precision::F32);
}

#[test]
fn two_halves_in_bf16_are_bit_identical_to_the_whole() {
    halves_are_the_whole(Precision::Bf16);
}

#[test]
fn two_halves_of_adapters_are_bit_identical_to_the_whole() {
    for precision in [Precision::F32, Precision::Bf16] {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let cache = folder.path().join("cache");
        let mut experiment = experiment(folder.path());
        experiment.training.precision = precision;
        experiment.training.lora = Some(LoraConfig {
            train: vec!["routers".into()],
            ..LoraConfig::of_rank(2)
        });
        let [whole, halves] = ["whole", "halves"].map(|name| {
            let run = folder.path().join(name);
            let given = Given {
                tokenizer: Tokenizer::bytes(),
                origin: serde_json::json!({"token_ids": {"bos": null, "eos": [], "pad": null}}),
            };
            let job = Job::fine_tune(experiment.clone(), given, &run, &cache, Progress::Hidden);
            let job = job.expect("the experiment is sound");
            let device = default_device();
            let model = CausalLm::<Autodiff<Selected>>::init(&experiment.model, 3, &device);
            job.train_model(model, &device, Screen::Nothing)
                .expect("the run ends well");
            run
        });
        let run = Run::open(&halves).expect("the run is there");
        run.rewind(6).expect("older checkpoints are kept");
        train(Job::resume(experiment, run, &cache, Progress::Hidden));

        assert_eq!(losses(&whole), losses(&halves));
        assert_eq!(last_checkpoint(&whole), last_checkpoint(&halves));
        let run = Run::open(&whole).expect("the run is there");
        let last = run.latest().expect("it is sound").expect("there is one");
        let moments = last.tensors("optimizer.safetensors").expect("it is sound");
        let of_factors_and_routers = |name: &String| {
            ["lora_a.", "lora_b.", ".router."]
                .iter()
                .any(|part| name.contains(part))
        };
        let names = moments.names();
        assert!(names.iter().all(of_factors_and_routers), "{names:?}");
        assert!(names.iter().any(|name| name.contains(".router.")));
    }
}

/// The checkpoint of step 6 falls into the inhibition of siblings that divided after step 4.
#[test]
fn two_halves_are_bit_identical_to_the_whole_in_the_middle_of_a_division() {
    let divisions = halves_are_the_whole_of(|experiment| {
        let moe = experiment.model.moe.as_mut().expect("the model routes");
        moe.n_routed_experts = 40;
        moe.router.initial_experts = Some(20);
        experiment.training.mitosis = Some(MitosisConfig {
            mode: Mode::Schedule(Schedule { at: vec![4] }),
            hold_steps: 3,
            fade_steps: 3,
            moments: Default::default(),
        });
    });
    assert_eq!(divisions, [4]);
}

#[test]
fn two_halves_are_bit_identical_to_the_whole_where_stress_decides() {
    let divisions = halves_are_the_whole_of(|experiment| {
        let moe = experiment.model.moe.as_mut().expect("the model routes");
        moe.n_routed_experts = 40;
        moe.router.initial_experts = Some(20);
        experiment.training.mitosis = Some(MitosisConfig {
            mode: Mode::Stress(StressRule {
                window: 2,
                threshold: 1.0,
                windows: 2,
                pause: 2,
                idle_windows: 2,
                ..Default::default()
            }),
            hold_steps: 2,
            fade_steps: 2,
            moments: Default::default(),
        });
    });
    assert!(divisions.iter().any(|&step| step < 6), "{divisions:?}");
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
        // kills at moments spread over steps and saves, after progress since the last kill
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
        if kill < 19 {
            child = spawn(&config, &run, &["--resume"]);
        }
    }

    // the run that was killed twenty times equals an undisturbed one at this step
    let undisturbed = folder.path().join("undisturbed");
    let mut child = spawn(&config, &undisturbed, &[]);
    let at_step = |run: &Path| {
        let run = Run::open(run).ok()?;
        let checkpoint = run.checkpoint(reached).expect("the folder can be read")?;
        Some(contents(&checkpoint))
    };
    let begin = Instant::now();
    let expected = loop {
        if let Some(contents) = at_step(&undisturbed) {
            break contents;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "no progress");
        std::thread::sleep(Duration::from_millis(2));
    };
    child.kill().expect("the process is running");
    child.wait().expect("the process is ours");
    assert_eq!(at_step(&run).expect("it was found above"), expected);
    let until = |run: &Path| {
        let mut losses = losses(run);
        losses.retain(|&(step, _)| step <= reached);
        losses
    };
    assert_eq!(until(&run), until(&undisturbed));
}
