//! Two processes with the same run, and runs with edited files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{experiment, write_config};

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
    command.args(arguments).current_dir(folder);
    command
}

#[test]
fn a_second_process_that_would_write_into_a_run_is_refused_and_readers_are_not() {
    let root = tempfile::tempdir().expect("there is a temporary folder");
    let folder = root.path();
    let mut experiment = experiment(folder);
    experiment.training.steps = 1_000_000;
    let config = write_config(&experiment, folder);
    let config = config.to_str().expect("the path is UTF-8");
    let begin = ["train", "--config", config, "--out", "run"];
    let resume = ["train", "--out", "run", "--resume"];

    let mut first = program(folder, &begin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is there");
    let checkpoint = folder.join("run/checkpoints/step-0000001/manifest.json");
    // waits for the first checkpoint; the program prints a line every few steps
    let mut lines = BufReader::new(first.stdout.take().expect("it is piped")).lines();
    while !checkpoint.exists() && !folder.join("run/checkpoints/step-0000002").exists() {
        let saved = fs::read_dir(folder.join("run/checkpoints"));
        let saved = saved.is_ok_and(|mut it| {
            it.any(|it| it.is_ok_and(|it| it.file_name().to_string_lossy().starts_with("step-")))
        });
        if saved {
            break;
        }
        lines.next();
    }
    for arguments in [&resume[..], &begin] {
        let refused = program(folder, arguments)
            .output()
            .expect("the program is there");
        let said = String::from_utf8_lossy(&refused.stderr);
        let errors: Vec<&str> = said.lines().filter(|it| it.starts_with("error:")).collect();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert_eq!(errors.len(), 1, "{said}");
        if arguments == resume {
            let expected = format!("(pid {})", first.id());
            assert!(
                errors[0].contains(&expected) && errors[0].contains("run"),
                "{said}"
            );
        }
    }
    first.kill().expect("it is running");
    first.wait().expect("it is ours");

    // the killed process holds no lock any more
    let newest = fs::read_dir(folder.join("run/checkpoints")).expect("it is there");
    let step = newest.flatten().filter_map(|it| {
        let name = it.file_name().into_string().ok()?;
        name.strip_prefix("step-")?.parse::<u64>().ok()
    });
    let steps = (step.max().expect("it had saved") + 1).to_string();
    let resumed = program(folder, &[&resume[..], &["--steps", &steps]].concat()).output();
    let resumed = resumed.expect("the program is there");
    let said = String::from_utf8_lossy(&resumed.stderr);
    assert!(resumed.status.success(), "{said}");
}

#[test]
fn weights_are_not_used_with_files_that_were_edited_since_they_were_saved() {
    let root = tempfile::tempdir().expect("there is a temporary folder");
    let folder = root.path();
    let config = write_config(&experiment(folder), folder);
    let config = config.to_str().expect("the path is UTF-8");
    let trained = program(folder, &["train", "--config", config, "--out", "run"]).output();
    let trained = trained.expect("the program is there");
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );

    let commands: [&[&str]; 5] = [
        &["train", "--out", "run", "--resume", "--steps", "5"],
        &[
            "inference",
            "--checkpoint",
            "run",
            "--prompt",
            "a",
            "--max-tokens",
            "1",
        ],
        &[
            "evaluate",
            "--checkpoint",
            "run",
            "--data",
            "documents.jsonl",
        ],
        &[
            "quantize",
            "--checkpoint",
            "run",
            "--bits",
            "8",
            "--out",
            "quantized",
        ],
        &[
            "train",
            "--init-from",
            "run",
            "--data",
            "documents.jsonl",
            "--out",
            "other",
        ],
    ];
    for (name, from, to) in [
        ("config.json", "\"rope_theta\": ", "\"rope_theta\": 1"),
        ("tokenizer.json", "<|eos|>", "<|eoS|>"),
        ("tokenizer_config.json", "<|eos|>", "<|bos|>"),
    ] {
        let path = folder.join("run").join(name);
        let text = fs::read_to_string(&path).expect("the run has it");
        assert!(text.contains(from), "{name}");
        fs::write(&path, text.replacen(from, to, 1)).expect("the run can be written to");
        for arguments in commands {
            let refused = program(folder, arguments)
                .output()
                .expect("the program is there");
            let said = String::from_utf8_lossy(&refused.stderr);
            let errors: Vec<&str> = said.lines().filter(|it| it.starts_with("error:")).collect();
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(
                errors.len() == 1 && errors[0].contains(name) && errors[0].contains("restore it"),
                "{arguments:?}: {said}"
            );
        }
        fs::write(&path, text).expect("the run can be written to");
    }
    // this model's widths are no multiples of a block, so it cannot be quantized
    for arguments in commands.iter().filter(|it| it[0] != "quantize") {
        let output = program(folder, arguments)
            .output()
            .expect("the program is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}
