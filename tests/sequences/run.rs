//! A run under a sequence of commands.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::{DataConfig, Experiment, TokenizerConfig};
use darkhorse_genesis::model::ModelConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::telemetry::{Record, StepRecord, read_journal};
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::TrainingConfig;
use serde_json::{Value, json};

use crate::support;

/// Files that [`Place::new`] creates.
pub(super) const INPUTS: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "train.jsonl",
    "moved.jsonl",
    "other.jsonl",
    "valid.jsonl",
    "empty.jsonl",
    "bad.jsonl",
];

/// Highest learning rate of a run, unless a command changes it.
const LEARNING_RATE: f64 = 2e-3;

const PATIENCE: Duration = Duration::from_secs(120);

/// A working folder with a small model's configuration and text.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("the folder can be written to");
        };
        write("train.jsonl", documents("sun", 30));
        write("moved.jsonl", documents("sun", 30));
        write("other.jsonl", documents("moon", 30));
        write("valid.jsonl", documents("sea", 4));
        write("empty.jsonl", "{\"text\":\"\"}\n".into());
        write("bad.jsonl", "{\"text\":\"good\"}\n{\"text\":\n".into());
        let tokenizer = folder.path().join("tokenizer.json");
        let saved = Tokenizer::bytes().save(&tokenizer);
        saved.expect("the folder can be written to");
        let json = experiment().to_json_pretty();
        write("config.json", json.expect("it has a JSON form"));
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
        command
            .current_dir(self.path())
            .env("RAYON_NUM_THREADS", "1");
        command
    }

    pub(super) fn train(&self, arguments: &str) -> Output {
        let mut program = self.program();
        program.arg("train").args(arguments.split_whitespace());
        program.output().expect("the program is there")
    }

    pub(super) fn spawn(&self, arguments: &str) -> Child {
        let mut program = self.program();
        program.arg("train").args(arguments.split_whitespace());
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        program.spawn().expect("the program is there")
    }
}

fn documents(about: &str, count: usize) -> String {
    let line = |number: usize| {
        let text = format!(
            "{about} {number} {}",
            "rises and sets ".repeat(1 + number % 4)
        );
        format!("{}\n", json!({"text": text}))
    };
    (0..count).map(line).collect()
}

/// One layer with four experts, for steps of a few milliseconds.
fn experiment() -> Experiment {
    let small = support::byte_config(DomainMode::Off);
    let mut model = ModelConfig {
        hidden_size: 16,
        num_hidden_layers: 1,
        first_k_dense_replace: 0,
        num_nextn_predict_layers: 0,
        ..small
    };
    let moe = model.moe.as_mut().expect("it has experts");
    moe.n_routed_experts = 4;
    Experiment {
        model,
        tokenizer: TokenizerConfig::File("tokenizer.json".into()),
        data: DataConfig {
            train: vec!["train.jsonl".into()],
            valid: vec!["valid.jsonl".into()],
            ..Default::default()
        },
        training: TrainingConfig {
            steps: 6,
            batch_size: 2,
            seq_len: 24,
            learning_rate: LEARNING_RATE,
            eval_every: 0,
            checkpoint_every: 2,
            keep_checkpoints: 2,
            log_every: 1000,
            ..Default::default()
        },
    }
}

/// Sends a signal, given by name.
pub(super) fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(kill.expect("there is a program kill").success(), "{name}");
}

/// Time of the last write to a run's journal.
fn changed(run: &Path) -> Option<SystemTime> {
    let journal = fs::metadata(run.join("metrics.jsonl"));
    journal.and_then(|it| it.modified()).ok()
}

/// Waits until a run's journal has this number of steps.
pub(super) fn wait_for_steps(run: &Path, steps: usize) {
    let lines = || {
        let bytes = fs::read(run.join("metrics.jsonl")).unwrap_or_default();
        let is_step = |line: &&[u8]| line.starts_with(b"{\"step\"");
        bytes.split(|&byte| byte == b'\n').filter(is_step).count()
    };
    let begin = Instant::now();
    while lines() < steps {
        assert!(
            begin.elapsed() < PATIENCE,
            "no progress in {}",
            run.display()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A run with its best results so far.
///
/// A line is a command, followed by `=>` and the expected outcome:
/// - `new` trains into the run's folder, `resume` continues, `named` runs the command that the program printed last.
///   All take the program's options; `--steps +N` means N steps beyond the newest checkpoint. `!INT@3` sends that
///   signal once 3 more steps are in the journal, `!INT,INT@3` sends two, `@0` as soon as the run has begun.
/// - `use` generates a token with the model.
/// - `remove` deletes a path, `flip` changes a bit of a file, `unmake` turns the run into a start that was killed
///   before the run existed.
/// - `config`, `lr` and `tokens` check the run's records.
pub(super) struct Row<'a> {
    place: &'a Place,
    folder: PathBuf,
    newest: Option<u64>,
    /// Best loss and its step, by validation text.
    best: BTreeMap<String, (f64, u64)>,
    highest_rate: f64,
    named: Option<String>,
}

impl<'a> Row<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            folder: place.path().join(format!("run-{number}")),
            place,
            newest: None,
            best: BTreeMap::new(),
            highest_rate: LEARNING_RATE,
            named: None,
        }
    }

    pub(super) fn play(mut self, commands: &[&str]) {
        for (number, command) in commands.iter().enumerate() {
            let at = format!("{command:?}, number {number} of {commands:?}");
            self.one(command, &at);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn one(&mut self, line: &str, at: &str) {
        let (command, expected) = line.split_once(" => ").unwrap_or((line, ""));
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "new" | "resume" | "named" => {
                self.train(verb, rest, expected, at);
                self.is_no_worse(at);
            }
            "use" => self.use_it(expected, at),
            "remove" => {
                let path = self.folder.join(rest);
                if path.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                }
                .expect(at);
                self.forget();
            }
            "flip" => {
                let path = self.folder.join(rest);
                let mut bytes = fs::read(&path).expect(at);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).expect(at);
                self.forget();
            }
            "unmake" => fs::remove_file(self.folder.join("config.json")).expect(at),
            "config" => {
                let (path, value) = rest.split_once(' ').expect(at);
                let config: Value = self.run(at).config().expect(at);
                let path = format!("/{}", path.replace('.', "/"));
                let value: Value = serde_json::from_str(value).expect(at);
                assert_eq!(config.pointer(&path), Some(&value), "{at}");
            }
            "lr" => {
                let (rate, step) = rest.split_once(" from ").expect(at);
                let (rate, step): (f64, u64) = (rate.parse().expect(at), step.parse().expect(at));
                for record in self.steps(at).iter().filter(|it| it.step >= step) {
                    assert!(record.lr <= rate, "{at}: {record:?}");
                }
            }
            "tokens" => {
                let last = self.steps(at).last().map(|it| it.tokens);
                assert_eq!(last, Some(rest.parse().expect(at)), "{at}");
            }
            _ => panic!("{at}"),
        }
    }

    fn train(&mut self, verb: &str, rest: &str, expected: &str, at: &str) {
        let (options, strike) = rest.split_once('!').unwrap_or((rest, ""));
        let steps = self.newest.unwrap_or(0);
        let mut words: Vec<String> = options.split_whitespace().map(Into::into).collect();
        for word in &mut words {
            if let Some(more) = word.strip_prefix('+') {
                *word = (steps + more.parse::<u64>().expect(at)).to_string();
            }
        }
        if let Some(rate) = words.iter().position(|it| it == "--learning-rate") {
            let rate: f64 = words[rate + 1].parse().expect(at);
            self.highest_rate = self.highest_rate.max(rate);
        }
        let out = self.folder.display();
        let head = match verb {
            "new" => format!("--config config.json --out {out}"),
            "resume" => format!("--out {out} --resume"),
            _ => self
                .named
                .clone()
                .unwrap_or_else(|| panic!("{at}: nothing was named")),
        };
        let arguments = format!("{head} {}", words.join(" "));
        let before = self.contents();
        let output = match strike.split_once('@') {
            None => self.place.train(&arguments),
            Some((signals, steps)) => self.strike(&arguments, signals, steps.parse().expect(at)),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        let at = format!("{at}: {said}{errors}");
        let named = said
            .lines()
            .find_map(|line| line.split_once("darkhorse-genesis train "));
        if let Some((_, named)) = named {
            let named = named.split(" --steps").next().unwrap_or(named);
            self.named = Some(named.into());
        }
        let code = output.status.code();
        let (outcome, what) = expected.split_once(' ').unwrap_or((expected, ""));
        match outcome {
            "done" => {
                assert_eq!(code, Some(0), "{at}");
                assert!(said.contains("report: "), "{at}");
                let newest = self.run(&at).latest().expect(&at).map(|it| it.step());
                match what {
                    "" => assert!(newest > self.newest, "{at}"),
                    step => assert_eq!(newest, step.parse().ok(), "{at}"),
                }
            }
            "finished" => {
                assert_eq!(code, Some(0), "{at}");
                assert!(said.contains(" is done: "), "{at}");
                assert_eq!(said.lines().count(), 1, "{at}");
                assert!(before == self.contents(), "{at}: something was written");
            }
            "refused" => {
                assert_eq!(code, Some(2), "{at}");
                assert!(errors.contains(what), "{at}");
                assert!(before == self.contents(), "{at}: something was written");
            }
            "stopped" => {
                let number = match strike.get(..3) {
                    Some("INT") => 130,
                    Some("TER") => 143,
                    _ => 129,
                };
                assert_eq!(code, Some(number), "{at}");
                assert!(said.contains("to go on: darkhorse-genesis train "), "{at}");
                assert!(self.folder.join("report.html").is_file(), "{at}");
                let newest = self.run(&at).latest().expect(&at).map(|it| it.step());
                let last = self.steps(&at).last().map(|it| it.step);
                assert_eq!(newest, last, "{at}: what was done is not what was saved");
            }
            "killed" => assert_ne!(code, Some(0), "{at}"),
            _ => panic!("{at}: {expected}"),
        }
    }

    /// Starts the program and sends it signals once its journal has this number of further steps.
    fn strike(&self, arguments: &str, signals: &str, steps: usize) -> Output {
        let before = changed(&self.folder);
        let child = self.place.spawn(arguments);
        let begin = Instant::now();
        // the program opens the journal after its signal handlers are in place
        while changed(&self.folder) == before {
            assert!(begin.elapsed() < PATIENCE, "no progress: {arguments}");
            std::thread::sleep(Duration::from_millis(1));
        }
        // steps after the last checkpoint are repeated, so the signal may come a little early, never late
        wait_for_steps(&self.folder, self.newest.unwrap_or(0) as usize + steps);
        for name in signals.split(',') {
            signal(&child, name);
        }
        child.wait_with_output().expect("the program is ours")
    }

    fn use_it(&self, expected: &str, at: &str) {
        let mut program = self.place.program();
        program.args([
            "inference",
            "--prompt",
            "a",
            "--max-tokens",
            "1",
            "--checkpoint",
        ]);
        let output = program.arg(&self.folder).output().expect(at);
        let errors = String::from_utf8_lossy(&output.stderr);
        match expected.split_once(' ') {
            None => assert!(output.status.success(), "{at}: {errors}"),
            Some((_, what)) => {
                assert_eq!(output.status.code(), Some(2), "{at}: {errors}");
                assert!(errors.contains(what), "{at}: {errors}");
            }
        }
    }

    fn run(&self, at: &str) -> Run {
        Run::open(&self.folder).expect(at)
    }

    fn steps(&self, at: &str) -> Vec<StepRecord> {
        let records = read_journal(self.folder.join("metrics.jsonl")).expect(at);
        let steps = records.into_iter().filter_map(|record| match record {
            Record::Step(step) => Some(step),
            _ => None,
        });
        steps.collect()
    }

    /// Checks the properties that hold after every command.
    fn is_no_worse(&mut self, at: &str) {
        let Ok(run) = Run::open(&self.folder) else {
            return;
        };
        let intact = run
            .latest_intact()
            .expect(at)
            .map(|it| it.checkpoint.step());
        assert!(
            intact >= self.newest,
            "{at}: {intact:?} after {:?}",
            self.newest
        );
        self.newest = intact;

        let checkpoints = run.checkpoints().expect(at);
        for valid in checkpoints
            .iter()
            .filter_map(|it| Some((it.step(), it.manifest().valid.clone()?)))
        {
            let (step, valid) = valid;
            let known = self.best.entry(valid.on).or_insert((valid.loss, step));
            if valid.loss < known.0 {
                *known = (valid.loss, step);
            }
        }
        for (loss, step) in self.best.values() {
            let is_there = checkpoints.iter().any(|it| it.step() == *step);
            assert!(is_there, "{at}: the best, {loss} at step {step}, is gone");
        }

        let steps = self.steps(at);
        for pair in steps.windows(2) {
            assert!(pair[0].step < pair[1].step, "{at}: {pair:?}");
        }
        for record in &steps {
            assert!(
                (0.0..=self.highest_rate).contains(&record.lr),
                "{at}: {record:?}"
            );
            assert!(record.loss.is_finite(), "{at}: {record:?}");
        }
    }

    /// Adjusts the expectations after an accident that removes checkpoints.
    fn forget(&mut self) {
        self.newest = None;
        self.best.clear();
    }

    /// Every file of the run, except locks.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_none_or(|it| it != ".lock") {
                    let bytes = fs::read(&path).unwrap_or_default();
                    found.insert(path, bytes);
                }
            }
        }
        found
    }
}
