//! Commands that choose a run name it, and choose only trained runs.

use std::fs;
use std::path::Path;

use crate::home::Home;
use crate::model::fixture;
use crate::program::{Program, text};

fn import(folder: &Path, name: &str) {
    let model = fixture("llama_tied");
    let out = format!("runs/{name}");
    let imported = Program::new(&["import", "--from", text(&model), "--out", &out]);
    assert_eq!(imported.within(folder).run().code, Some(0));
}

/// A run in the form that training leaves.
fn train(folder: &Path, name: &str) {
    import(folder, name);
    fs::write(folder.join("runs").join(name).join("metrics.jsonl"), "").unwrap();
}

const PROMPT: [&str; 6] = [
    "inference",
    "--ids",
    "5,6",
    "--print-ids",
    "--max-tokens",
    "1",
];

#[test]
fn copies_that_are_newer_do_not_take_the_place_of_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    import(folder, "imported");
    let none = Program::new(&PROMPT).within(folder).run();
    assert!(
        none.refusal().starts_with("no trained run in `runs/`"),
        "{none:?}"
    );
    train(folder, "first");
    train(folder, "second");
    import(folder, "newer");
    let quantize = [
        "quantize",
        "--model",
        "runs/first",
        "--bits",
        "8",
        "--out",
        "runs/first-q8",
    ];
    assert_eq!(Program::new(&quantize).within(folder).run().code, Some(0));
    let told = Program::new(&PROMPT).within(folder).run();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(
        told.errors.starts_with("run runs/second, step 0, saved "),
        "{told:?}"
    );
    assert_eq!(told.errors.lines().count(), 1, "{told:?}");

    let bench = [
        "bench", "--prompt", "4", "--new", "2", "--runs", "1", "--json",
    ];
    let told = Program::new(&bench).within(folder).run();
    assert!(
        told.errors.starts_with("run runs/second, step 0, saved "),
        "{told:?}"
    );

    let quiet = Program::new(&[&PROMPT[..], &["--quiet"]].concat())
        .within(folder)
        .run();
    assert_eq!((quiet.code, quiet.errors.as_str()), (Some(0), ""));
    let named = Program::new(&[&PROMPT[..], &["--model", "runs/newer"]].concat());
    assert_eq!(named.within(folder).run().errors, "");
}

#[test]
fn a_model_is_named_once_and_by_the_folder_of_its_run() {
    let home = Home::new();
    train(&home.path("."), "first");
    home.done("inference --model runs/first --ids 5,6 --print-ids --max-tokens 1 --weights bf16");
    for other in ["--params tiny", "--config absent.json"] {
        for command in ["inference --ids 5,6", "bench"] {
            let line = home.refused(&format!("{command} --model runs/first {other}"));
            assert!(line.contains("cannot be used with"), "{other}: {line}");
        }
    }
    let checkpoint = fs::read_dir(home.path("runs/first/checkpoints")).unwrap();
    let checkpoint = checkpoint.map(|it| it.unwrap().path());
    let checkpoint = checkpoint.into_iter().find(|it| it.is_dir()).unwrap();
    for path in [checkpoint.clone(), checkpoint.join("model.safetensors")] {
        let line = home.refused(&format!("inference --ids 5,6 --model {}", path.display()));
        assert!(
            line.contains("is a checkpoint of a run: name the run's folder"),
            "{line}"
        );
    }
}

#[test]
fn a_text_that_is_no_conversation_is_told_with_its_file_and_line() {
    let home = Home::new();
    home.write("few.jsonl", "{\"text\": \"no turns\"}\n");
    let tokenizer = fixture("llama_llama3rope");
    let line = home.refused(&format!(
        "render --tokenizer {} few.jsonl",
        tokenizer.display()
    ));
    assert!(
        line.contains("few.jsonl` line 1: a text without turns"),
        "{line}"
    );
    let line = home.refused("render few.jsonl");
    assert!(
        line.contains("--model") && line.contains("--tokenizer"),
        "{line}"
    );
}
