//! Pages of training runs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::dashboard::{Dashboard, Watched};
use darkhorse_genesis::serving::Stopper;
use darkhorse_genesis::telemetry::{EvalRecord, Journal, Record, StepRecord};
use serde_json::Value;

use crate::client::{Answer, Connection};

/// A dashboard that is stopped when it is dropped.
struct Shown {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    fn of(folder: &Path, names: &[&str]) -> Self {
        let open = |name: &&str| Watched::open(folder.join(name), (*name).into()).unwrap();
        let runs = names.iter().map(open).collect();
        let dashboard = Dashboard::bind("127.0.0.1", 0, runs).unwrap();
        Self {
            address: dashboard.address().unwrap(),
            stopper: dashboard.stopper(),
            thread: Some(std::thread::spawn(|| dashboard.run().unwrap())),
        }
    }

    fn get(&self, path: &str) -> Answer {
        let mut connection = Connection::open(self.address);
        connection.send("GET", path, &[], b"");
        connection.answer()
    }

    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("script-src 'self'"), "{}", answer.head);
        answer.body
    }

    fn runs(&self) -> Vec<Value> {
        self.get("/api/runs").ok().as_array().unwrap().clone()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// A run that was begun; its journal is to be written.
fn run(folder: &Path, name: &str) -> Journal {
    let mut experiment = Experiment::preset("tiny").unwrap();
    experiment.training.steps = 3;
    let run = Run::create(folder.join(name), &experiment, None).unwrap();
    Journal::open(run.metrics_path(), 0).unwrap()
}

fn step(step: u64) -> Record {
    Record::Step(StepRecord {
        step,
        tokens: step * 100,
        loss: 4.5 - step as f64,
        tokens_per_s: 10.0,
        duration_s: 1.0,
        expert_loads: vec![vec![step; 20]; 4],
        ..StepRecord::default()
    })
}

#[test]
fn a_run_is_shown_as_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = run(folder.path(), "one");
    let shown = Shown::of(folder.path(), &["one"]);
    assert!(shown.page("/").contains("No step has been recorded yet."));
    let runs = shown.runs();
    assert_eq!(runs[0]["step"], Value::Null);
    assert_eq!(runs[0]["loss"], Value::Null);
    assert_eq!(runs[0]["state"], "step 0 of 3");
    let mut version = runs[0]["version"].as_u64().unwrap();
    for number in 1..=3 {
        journal.append(&step(number)).unwrap();
        let runs = shown.runs();
        assert_eq!(runs[0]["step"], number);
        assert_eq!(runs[0]["loss"], 4.5 - number as f64);
        let now = runs[0]["version"].as_u64().unwrap();
        assert!(now > version);
        version = now;
        let page = shown.page("/");
        assert!(
            page.contains(&format!("data-version=\"{version}\"")),
            "{page}"
        );
        assert!(
            page.contains(&format!("on {} tokens.", number * 100)),
            "{page}"
        );
        assert_eq!(shown.page("/runs/0"), page);
    }
    assert_eq!(shown.runs()[0]["state"], "finished after 3 steps");
    let script = shown.get("/live.js");
    assert!(script.head.contains("content-type: text/javascript"));
    assert!(script.body.contains("/api/runs"));
}

#[test]
fn several_runs_lie_over_each_other_and_have_pages() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["<i>a", "b"];
    for name in names {
        let mut journal = run(folder.path(), name);
        for number in 1..=3 {
            journal.append(&step(number)).unwrap();
        }
        let eval: EvalRecord = serde_json::from_value(serde_json::json!({
            "step": 2, "loss": 3.0, "bits_per_byte": 1.5,
            "domains": [{"domain": null, "loss": 3.0, "bits_per_byte": 1.5, "tokens": 9}]
        }))
        .unwrap();
        journal.append(&Record::Eval(eval)).unwrap();
    }
    let shown = Shown::of(folder.path(), &names);
    let page = shown.page("/");
    assert!(!page.contains("<i>a"), "{page}");
    for text in [
        "&lt;i&gt;a",
        "line run0",
        "line run1",
        "Held-out loss",
        "href=\"/runs/1\"",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    // without a meter there is no chart of energy
    assert!(!page.contains("millijoules"));
    let own = shown.page("/runs/1");
    assert!(own.contains("<a href=\"/\">all runs</a>"));
    assert!(own.contains("the journal has no measurement"));
    for path in [
        "/runs/2",
        "/runs/-1",
        "/runs/x",
        "/runs/",
        "/../Cargo.toml",
        "/runs/..%2f..%2fone",
        "/favicon.ico",
    ] {
        assert_eq!(shown.get(path).status, 404, "{path}");
    }
    // a run whose journal is gone is no end of the others
    fs::remove_file(folder.path().join("b/metrics.jsonl")).unwrap();
    assert_eq!(shown.runs()[1]["state"], "no journal yet");
    assert!(shown.page("/").contains("line run0"));
}
