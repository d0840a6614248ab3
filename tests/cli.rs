//! The command line as users meet it: help, `plan`, one line per error, exit codes.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

#[path = "cli/adapter.rs"]
mod adapter;
#[path = "cli/calibrate.rs"]
mod calibrate;
#[path = "cli/calibrate_tasks.rs"]
mod calibrate_tasks;
#[path = "cli/chat.rs"]
mod chat;
#[path = "cli/dashboard.rs"]
mod dashboard;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/finite.rs"]
mod finite;
#[path = "cli/first_run.rs"]
mod first_run;
#[path = "cli/home.rs"]
mod home;
#[path = "cli/lora.rs"]
mod lora;
#[path = "cli/model.rs"]
mod model;
#[path = "cli/newest.rs"]
mod newest;
#[path = "cli/options.rs"]
mod options;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/prune.rs"]
mod prune;
#[path = "cli/published.rs"]
mod published;
#[path = "cli/retrofit.rs"]
mod retrofit;
#[path = "cli/routes.rs"]
mod routes;
#[cfg(unix)]
#[path = "cli/serve.rs"]
mod serve;
#[path = "cli/tasks.rs"]
mod tasks;
#[path = "cli/telemetry.rs"]
mod telemetry;
#[cfg(target_os = "linux")]
#[path = "cli/terminal.rs"]
mod terminal;

use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
        .args(arguments)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

/// Standard output of a call that must succeed.
fn shown(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one-line error of a call that must be refused.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let line = errors.trim_end().strip_prefix("error: ");
    line.unwrap_or_else(|| panic!("{errors}")).to_owned()
}

fn plan(arguments: &[&str]) -> Value {
    let all = [&["plan", "--json"], arguments].concat();
    serde_json::from_str(&shown(&all)).unwrap()
}

#[test]
fn the_help_of_every_command_ends_with_examples() {
    for command in [
        &[][..],
        &["train"],
        &["inference"],
        &["chat"],
        &["evaluate"],
        &["export"],
        &["import"],
        &["logits"],
        &["tokenize"],
        &["routes"],
        &["plan"],
        &["completions"],
        &["man"],
    ] {
        let help = shown(&[command, &["--help"]].concat());
        let (_, examples) = help.split_once("Examples:").unwrap();
        let name = command.first().unwrap_or(&"--prompt");
        assert!(
            examples.contains(&format!("darkhorse-genesis {name}")),
            "{help}"
        );
    }
}

#[test]
fn plan_tells_the_flagship_s_figures() {
    let plan = plan(&["--params", "5b", "--memory", "12GB"]);
    assert_eq!(plan["parameters"]["total"], 4_970_233_856u64);
    assert_eq!(plan["context"], 131_072);
    let bf16 = &plan["inference"][1];
    assert_eq!(bf16["dtype"], "bf16");
    assert_eq!(bf16["cache_bytes_per_token"], 23_040);
    assert_eq!(bf16["cache_bytes"], 23_040u64 * 131_072);
    assert_eq!(plan["inference"][0]["largest_context"], Value::Null);
    // 20 rows of 18 blocks of 34 bytes
    let in_blocks = self::plan(&["--params", "5b", "--cache-dtype", "q8"]);
    assert_eq!(in_blocks["inference"][2]["cache_dtype"], "q8");
    assert_eq!(
        in_blocks["inference"][2]["cache_bytes_per_token"],
        20 * 18 * 34
    );
    let (weights, context) = (
        bf16["weights_bytes"].as_u64(),
        bf16["largest_context"].as_u64(),
    );
    assert_eq!(context, Some((12_000_000_000 - weights.unwrap()) / 23_040));
    assert_eq!(plan["training"][0]["fits"], false);
    assert_eq!(plan["largest_presets"]["inference"], "5b");
}

#[test]
fn plan_counts_the_states_of_linear_attention() {
    let plan = plan(&["--params", "genesis-152m", "--context", "100"]);
    let row = &plan["inference"][0];
    let count = |key: &str| row[key].as_u64().unwrap();
    assert!(count("state_bytes") > 0);
    assert_eq!(
        count("cache_bytes"),
        100 * count("cache_bytes_per_token") + count("state_bytes")
    );
    let table = shown(&["plan", "--params", "genesis-152m"]);
    assert!(table.contains("  state  "), "{table}");
    let without = shown(&["plan", "--params", "5b"]);
    assert!(!without.contains("  state  "), "{without}");
}

#[test]
fn plan_divides_the_largest_model_among_devices() {
    let plan = plan(&["--params", "500b", "--devices", "64", "--memory", "80GB"]);
    let devices = &plan["devices"];
    assert_eq!(devices["count"], 64);
    let (data, expert) = (&devices["data_parallel"][1], &devices["expert_parallel"][1]);
    assert_eq!(data["inference_bytes"], plan["inference"][1]["total_bytes"]);
    assert_eq!(
        (&data["inference_fits"], &expert["inference_fits"]),
        (&false.into(), &true.into())
    );
    assert!(expert["training_bytes"].as_u64() < data["training_bytes"].as_u64());
}

#[test]
fn plan_is_an_aligned_table_for_people() {
    let text = shown(&[
        "plan",
        "--params",
        "5b",
        "--context",
        "4096",
        "--memory",
        "16GiB",
    ]);
    assert!(
        text.starts_with("5b: 4.97 B parameters, 1.17 B active per token, "),
        "{text}"
    );
    assert!(text.contains("fits 16.00 GiB"), "{text}");
    assert!(text.contains("131,072 tokens"), "{text}");
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with("inference"))
        .take(5)
        .collect();
    assert!(
        rows.iter()
            .all(|row| row.chars().count() == rows[0].chars().count()),
        "{text}"
    );
}

#[test]
fn plan_without_memory_takes_the_device_s() {
    let plan = plan(&["--params", "tiny"]);
    if let Some(memory) = plan["memory"].as_object() {
        assert_eq!(memory["source"], "device");
        assert!(memory["bytes"].as_u64().unwrap() > 1 << 26);
    }
}

#[test]
fn bad_arguments_are_one_line_with_a_way_out() {
    assert_eq!(
        refused(&["train", "--stps", "5"]),
        "unexpected argument '--stps' found; tip: a similar argument exists: '--steps'; see `--help`"
    );
    assert_eq!(
        refused(&["plan", "--params", "7b"]),
        "invalid value '7b' for '--params <PRESET>' [possible values: tiny, genesis-moe-tiny, mixtral-tiny, deepseek-tiny, genesis-tiny, darkhorse-hybrid, default, genesis-152m, genesis-sweetspot, 1b, 3b, 5b, genesis-13b, 30b, 100b, 500b]; see `--help`"
    );
    assert!(refused(&["plan", "--memory", "12"]).contains("as in 12GB"));
    assert!(
        refused(&["train", "--mix", "code=2"])
            .contains("the weight of `code` is 2, expected 0 to 1")
    );
    assert!(
        refused(&["inference", "--prompt", "x", "--domain", "astrology"])
            .contains("mathematics, code")
    );
    assert!(refused(&["inference"]).contains("--prompt"));
    assert!(refused(&["fly"]).contains("unrecognized subcommand 'fly'"));
    assert!(refused(&[]).contains("--help"));
}

#[test]
fn what_the_arguments_make_of_an_experiment_is_validated() {
    assert_eq!(
        refused(&["train", "--params", "tiny", "--seq-len", "4096"]),
        "`training.seq_len` is 4096, expected at most `model.max_position_embeddings` = 1024"
    );
    assert_eq!(
        refused(&["plan", "--params", "tiny", "--context", "2000"]),
        "`--context` is 2000, expected 1 to 1024, the model's `max_position_embeddings`"
    );
    let line = refused(&["inference", "--prompt", "x", "--top-p", "2"]);
    assert!(line.starts_with("`top_p` is 2, expected"), "{line}");
}

#[test]
fn a_bad_config_is_named_with_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.json");
    let path = file.to_str().unwrap();
    let line = refused(&["plan", "--config", path]);
    assert!(
        line.starts_with(&format!("cannot read the config `{path}`: ")),
        "{line}"
    );
    std::fs::write(&file, r#"{"modle": {}}"#).unwrap();
    assert_eq!(
        refused(&["plan", "--config", path]),
        format!("in the config `{path}`: unknown key `modle`, did you mean `model`?")
    );
    std::fs::write(&file, r#"{"n_layers": 6}"#).unwrap();
    assert_eq!(
        refused(&["plan", "--config", path]),
        format!(
            "in the config `{path}`: these keys have new names: `n_layers` is now `model.num_hidden_layers`"
        )
    );
}

#[test]
fn what_cannot_fit_is_refused_with_the_largest_preset_that_does() {
    let line = refused(&["train", "--params", "500b"]);
    assert!(
        line.starts_with("training in f32 on 4096 tokens at a time takes "),
        "{line}"
    );
    assert!(
        line.contains("; the largest preset that fits is `"),
        "{line}"
    );
    let line = refused(&[
        "inference",
        "--params",
        "500b",
        "--random-weights",
        "--prompt",
        "x",
    ]);
    assert!(
        line.starts_with("inference in f32 over 256 tokens takes 1.8"),
        "{line}"
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"))
        .args(["plan", "--params", "tiny"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let errors = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{errors}");
    assert_eq!(errors, "");
}
