//! A working folder in which the program is called.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A working folder in which the program is called.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the configuration of a two-layer model, with experts or without.
    pub(crate) fn write_config(&self, experts: bool) {
        let mut model = json!({
            "vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32,
            "first_k_dense_replace": if experts { 1 } else { 2 },
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
            "layer_types": ["gqa"], "rope": {"rope_theta": 10000.0}, "max_position_embeddings": 128,
            "num_nextn_predict_layers": if experts { 1 } else { 0 },
        });
        if experts {
            model["moe"] = json!({
                "n_routed_experts": 20, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "n_shared_experts": 1
            });
        }
        let training = json!({
            "steps": 4, "batch_size": 2, "seq_len": 32, "eval_every": 2, "checkpoint_every": 2, "log_every": 1
        });
        let config = json!({"model": model, "training": training});
        self.write("model.json", config.to_string());
    }

    pub(crate) fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Standard output and standard error of a call that must succeed.
    pub(crate) fn done(&self, arguments: &str) -> (String, String) {
        let output = self.run(arguments);
        let [said, told] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(output.status.success(), "{arguments}: {told}");
        (said, told)
    }

    /// The last line of a call that must be refused.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {told}");
        let line = told.lines().last().unwrap();
        line.strip_prefix("error: ").unwrap().to_owned()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The records of one kind in a run's journal.
    pub(crate) fn records(&self, run: &str, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap();
        let records = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        records
            .filter_map(|record| record.get(kind).cloned())
            .collect()
    }

    pub(crate) fn report(&self, run: &str) -> String {
        fs::read_to_string(self.path(run).join("report.html")).unwrap()
    }
}

/// `count` different documents of a domain.
pub(crate) fn documents(domain: &str, count: usize) -> String {
    let line = |number| {
        let text = format!("{domain} text number {number} says that {number} and {number} are two");
        format!("{}\n", json!({"domain": domain, "text": text}))
    };
    (0..count).map(line).collect()
}
