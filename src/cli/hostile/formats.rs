//! The tested formats: valid files of each, and how the program reads them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::configurations;
use super::mutation::Kind;
use super::state;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::stored;
use crate::config::Experiment;
use crate::data::{Source, SourceOptions};
use crate::domain::Domain;
use crate::model::weights::NamedTensor;
use crate::telemetry::report::{self, About};
use crate::telemetry::{
    DomainRecord, EvalRecord, Journal, Record, RoutingTable, SampleRecord, SamplesRecord,
    SkippedRecord, StepRecord, read_journal,
};
use crate::tokenizer::Tokenizer;

pub(super) const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Subject of a test: a format, or the keys of configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gguf,
    Safetensors,
    Index,
    ModelConfig,
    Tokenizer,
    Genesis,
    Lines,
    Compressed,
    Parquet,
    Run,
    State,
    Journal,
    Experiment,
    /// Every key of every imported configuration.
    Keys,
    /// Every key of this crate's configurations, as `plan` reads them.
    PlanKeys,
}

/// A valid input, one file of which is changed.
pub(super) struct Case {
    /// Path that the program is given.
    pub(super) path: PathBuf,
    /// File that is changed.
    pub(super) target: PathBuf,
    /// Valid content of that file.
    pub(super) seed: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) read: fn(&Path) -> Result<(), Failure>,
    /// Size of the other files that are read, in bytes.
    pub(super) beside: usize,
    /// Bytes of memory that the program takes even for the smallest files.
    pub(super) constant: usize,
    pub(super) _folder: tempfile::TempDir,
}

impl Case {
    pub(super) fn restore(&self) {
        fs::write(&self.target, &self.seed).unwrap();
    }

    /// A copy of `files` of a fixture, where `target` is changed and `given` is read (empty: the folder).
    pub(super) fn of(
        fixture: &str,
        files: &[&str],
        target: &str,
        given: &str,
        kind: Kind,
        read: fn(&Path) -> Result<(), Failure>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut beside = 0;
        for name in files {
            let bytes = fs::read(Path::new(FIXTURES).join(fixture).join(name)).unwrap();
            fs::write(folder.path().join(name), &bytes).unwrap();
            beside += if *name == target { 0 } else { bytes.len() };
        }
        let target = folder.path().join(target);
        Self {
            path: match given {
                "" => folder.path().to_path_buf(),
                name => folder.path().join(name),
            },
            seed: fs::read(&target).unwrap(),
            target,
            kind,
            read,
            beside,
            constant: 16 << 20,
            _folder: folder,
        }
    }

    /// A single file with this content.
    pub(super) fn file(
        name: &str,
        seed: Vec<u8>,
        kind: Kind,
        read: fn(&Path) -> Result<(), Failure>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join(name);
        fs::write(&target, &seed).unwrap();
        Self {
            path: target.clone(),
            seed,
            target,
            kind,
            read,
            beside: 0,
            constant: 4 << 20,
            _folder: folder,
        }
    }
}

impl Format {
    const ALL: [(&'static str, Self); 15] = [
        ("gguf", Self::Gguf),
        ("safetensors", Self::Safetensors),
        ("index", Self::Index),
        ("config", Self::ModelConfig),
        ("tokenizer", Self::Tokenizer),
        ("genesis", Self::Genesis),
        ("lines", Self::Lines),
        ("compressed", Self::Compressed),
        ("parquet", Self::Parquet),
        ("run", Self::Run),
        ("state", Self::State),
        ("journal", Self::Journal),
        ("experiment", Self::Experiment),
        ("keys", Self::Keys),
        ("plan-keys", Self::PlanKeys),
    ];

    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, format)| *format == self);
        found.unwrap().0
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format)
    }

    pub(super) fn cases(self) -> Vec<Case> {
        const MODEL: [&str; 2] = ["config.json", "model.safetensors"];
        let json = |fixture: &str| Case::of(fixture, &MODEL, MODEL[0], "", Kind::Json, open_model);
        let tensors =
            |fixture: &str| Case::of(fixture, &MODEL, MODEL[1], "", Kind::Safetensors, open_model);
        match self {
            Self::Gguf => {
                let head = Kind::Bytes { head: 12_000 };
                let file = ["model.gguf"];
                let fixture = "gguf_deepseek_v3_yarn";
                vec![Case::of(fixture, &file, file[0], file[0], head, open_model)]
            }
            Self::Safetensors => vec![tensors("llama_tied"), tensors("mixtral")],
            Self::Index => vec![sharded()],
            Self::ModelConfig => {
                let fixtures = [
                    "llama_tied",
                    "llama_llama3rope",
                    "mixtral",
                    "deepseek_v3_yarn",
                    "qwen3_next",
                    "fp8_block",
                ];
                fixtures.map(json).into()
            }
            Self::Tokenizer => ["deepseek_v3_yarn", "llama_llama3rope"]
                .map(|fixture| {
                    let files = ["tokenizer.json", "tokenizer_config.json"];
                    let case = |target| {
                        let read = open_tokenizer;
                        let mut case =
                            Case::of(fixture, &files, target, files[0], Kind::Json, read);
                        // the tokenizers crate keeps maps of all tokens both ways, and compiles patterns
                        case.constant = 64 << 20;
                        case
                    };
                    [case(files[0]), case(files[0]), case(files[1])]
                })
                .into_iter()
                .flatten()
                .collect(),
            Self::Genesis => {
                let file = ["tiny_genesis.safetensors"];
                let kind = Kind::Safetensors;
                vec![Case::of(
                    "genesis152m",
                    &file,
                    file[0],
                    file[0],
                    kind,
                    open_model,
                )]
            }
            Self::Lines => {
                let lines = lines();
                let array = format!("[{}]", lines.trim_end().replace('\n', ",\n"));
                vec![
                    Case::file("a.jsonl", lines.into_bytes(), Kind::Lines, read_documents),
                    Case::file("a.json", array.into_bytes(), Kind::Json, read_documents),
                ]
            }
            Self::Compressed => {
                let head = Kind::Bytes { head: usize::MAX };
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                gzip.write_all(lines().as_bytes()).unwrap();
                let gzip = gzip.finish().unwrap();
                let zstd = zstd::encode_all(lines().as_bytes(), 3).unwrap();
                vec![
                    Case::file("a.jsonl.gz", gzip, head, read_documents),
                    Case::file("a.jsonl.zst", zstd, head, read_documents),
                ]
            }
            Self::Parquet => ["messages", "conversations", "zstd", "content"]
                .map(|name| {
                    let name = format!("{name}.parquet");
                    let seed = fs::read(Path::new(FIXTURES).join("parquet").join(&name)).unwrap();
                    let head = Kind::Bytes { head: usize::MAX };
                    let mut case = Case::file(&name, seed, head, read_documents);
                    // a page's memory is set by its header
                    case.constant = 256 << 20;
                    case
                })
                .into(),
            Self::Run => run(),
            Self::State => state::cases(),
            Self::Journal => {
                let mut case = Case::file("metrics.jsonl", journal(), Kind::Lines, read_and_go_on);
                // the report is built in memory
                case.constant = 16 << 20;
                vec![case]
            }
            Self::Keys => configurations::imported(),
            Self::PlanKeys => configurations::planned(),
            Self::Experiment => {
                let mut experiment = Experiment::preset("tiny").unwrap();
                experiment.data.train = vec!["a.jsonl".into()];
                let json = experiment.to_json_pretty().unwrap().into_bytes();
                vec![Case::file("config.json", json, Kind::Json, |path| {
                    Experiment::load(path).or_input().map(drop)
                })]
            }
        }
    }
}

/// Everything that `inference` does before the first logits.
pub(super) fn open_model(path: &Path) -> Result<(), Failure> {
    configurations::first_logits(&configurations::loaded(path)?)
}

fn open_tokenizer(path: &Path) -> Result<(), Failure> {
    let read = || {
        let tokenizer = Tokenizer::from_file(path)?;
        let ids = tokenizer.encode("Hello, wörld!\n  <|im_start|> 12345")?;
        let _ = (tokenizer.decode(&ids), tokenizer.token_bytes());
        Ok(())
    };
    read()
        .map_err(|error: crate::tokenizer::TokenizerError| error)
        .or_input()
}

/// Reads every document; the first error ends it.
fn read_documents(path: &Path) -> Result<(), Failure> {
    let read = || {
        let source = Source::open(&[path], SourceOptions::default())?;
        source
            .documents()
            .try_for_each(|document| document.map(drop))
    };
    read().or_input()
}

/// Reads a journal as the report and `train --resume` do. Rejected lines are returned as a failure.
fn read_and_go_on(path: &Path) -> Result<(), Failure> {
    let records = read_journal(path).or_input()?;
    let about = About {
        routed_layers: vec!["layer 2".into(), "MTP 1".into()],
        expert_domains: vec![Domain::General, Domain::Code],
        num_steps: 3,
        ..About::default()
    };
    let page = report::render(&about, &records);
    assert!(page.ends_with("</html>\n"), "the page ends early");
    drop(Journal::open(path, 2).or_input()?);
    let aside = path.with_extension("rejected.jsonl");
    let rejected = fs::read_to_string(&aside).unwrap_or_default();
    let _ = fs::remove_file(&aside);
    match rejected.lines().count() {
        0 => Ok(()),
        lines => Err(Failure::input(format!("{lines} lines are no records"))),
    }
}

/// A journal with one record of every kind, all fields set.
fn journal() -> Vec<u8> {
    let step = |step: u64| {
        Record::Step(StepRecord {
            step,
            tokens: step * 64,
            loss: 5.0 / step as f64,
            mtp_loss: Some(5.5),
            aux_loss: Some(0.01),
            lr: 1e-3,
            grad_norm: 1.5,
            max_vio_batch: Some(0.5),
            max_vio_global: Some(0.25),
            tokens_per_s: 900.0,
            duration_s: 0.07,
            energy_j: Some(2.0),
            energy_source: Some("CPU package-0 (RAPL counter)".into()),
            expert_loads: vec![vec![40, 24], vec![32, 32]],
            null_loads: vec![vec![9, 7], vec![0, 16]],
        })
    };
    let table = RoutingTable {
        share: vec![vec![0.1; Domain::COUNT]; Domain::COUNT],
        chance: vec![0.1; Domain::COUNT],
    };
    let eval = |step: u64| {
        let domain = |domain| DomainRecord {
            domain,
            loss: 4.0,
            bits_per_byte: 2.5,
            tokens: 300,
        };
        Record::Eval(EvalRecord {
            step,
            loss: 4.0,
            bits_per_byte: 2.5,
            domains: vec![domain(Some(Domain::Code)), domain(None)],
            routing_tagged: Some(table.clone()),
            routing_untagged: Some(table.clone()),
            max_vio: Some(0.75),
            null_share: Some(0.25),
        })
    };
    let sample = SampleRecord {
        domain: Some(Domain::Code),
        seed: 7,
        text: "let <b>x</b>".into(),
    };
    let records = [
        Record::Skipped(SkippedRecord {
            count: 2,
            examples: vec!["a.jsonl line 3".into()],
        }),
        eval(0),
        step(1),
        step(2),
        eval(2),
        step(3),
        Record::Samples(SamplesRecord {
            step: 3,
            samples: vec![sample],
        }),
    ];
    let lines = records.map(|record| serde_json::to_string(&record).unwrap() + "\n");
    lines.concat().into_bytes()
}

/// Texts and conversations in every form that is read.
fn lines() -> String {
    let turns = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "two and two?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}},
        ]},
        {"role": "tool", "content": "4", "tool_call_id": "c"},
        {"role": "assistant", "content": "four", "weight": 1},
    ]);
    let said = json!([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho\n"}]);
    [
        json!({"text": "a text \"quoted\" \u{1F40E}", "domain": "code", "score": 1.5}),
        json!({"messages": turns, "tools": [{"type": "function"}]}),
        json!({"conversations": said, "system": "be kind", "id": [1, {"x": null}]}),
        json!({"domain": null, "text": "b"}),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

/// A model whose weights are one shard with an index file.
fn sharded() -> Case {
    let files = ["config.json", "model.safetensors"];
    let fixture = "llama_tied";
    let mut case = Case::of(fixture, &files, files[0], "", Kind::Json, open_model);
    let whole = fs::read(case.path.join(files[1])).unwrap();
    let names = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let names = names
        .names()
        .into_iter()
        .map(|name| (name, "model-00001-of-00001.safetensors"));
    let map: std::collections::BTreeMap<_, _> = names.collect();
    let index = json!({"metadata": {"total_size": whole.len()}, "weight_map": map});
    let shard = case.path.join("model-00001-of-00001.safetensors");
    fs::rename(case.path.join(files[1]), shard).unwrap();
    case.target = case.path.join("model.safetensors.index.json");
    case.seed = index.to_string().into_bytes();
    case.restore();
    case.beside += whole.len();
    case
}

/// An imported run, each file of which is changed in turn. Its manifest has no digest of the tokenizer, as in older
/// runs; otherwise every change of the tokenizer would be refused for its digest.
fn run() -> Vec<Case> {
    let names = [
        "config.json",
        "manifest.json",
        "model.safetensors",
        "origin.json",
        "tokenizer.json",
    ];
    let make = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (fixture, constant) = match name {
            "tokenizer.json" => ("llama_llama3rope", 64 << 20),
            _ => ("llama_tied", 16 << 20),
        };
        let stored = stored::open(&Path::new(FIXTURES).join(fixture)).unwrap();
        let tensors = stored.weights.names().into_iter();
        let tensors = tensors.map(|name| NamedTensor::of(stored.weights.as_ref(), &name));
        let tensors = tensors.collect::<Result<Vec<_>, _>>().unwrap();
        stored
            .write_run(&path, &stored.experiment, tensors)
            .unwrap();
        let manifest = find(&path, "manifest.json").unwrap();
        let mut json: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.retain(|key, _| key != "beside" && key != "digest");
        fs::write(&manifest, json.to_string()).unwrap();
        let target = find(&path, name).unwrap_or_else(|| panic!("a run has a file {name}"));
        let seed = fs::read(&target).unwrap();
        let kind = if name.ends_with(".json") {
            Kind::Json
        } else {
            Kind::Safetensors
        };
        Case {
            path,
            seed,
            target,
            kind,
            read: open_model,
            beside: 1 << 20,
            constant,
            _folder: folder,
        }
    };
    names.map(make).into()
}

/// Finds a file by name in a folder and below.
pub(super) fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.find_map(|path| {
        if path.is_dir() {
            find(&path, name)
        } else {
            path.file_name()
                .is_some_and(|found| found == name)
                .then_some(path)
        }
    })
}
