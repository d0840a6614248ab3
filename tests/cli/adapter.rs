//! `--adapter` with every command that takes a model.

use std::fs;

use serde_json::Value;

use crate::home::Home;
use crate::model::{configure, copy, fixture, with_tokenizer};

/// A folder with the model `base`, the adapter `lora` that changes its routing, their sum `merged`, and `text.jsonl`.
fn home() -> Home {
    let home = Home::new();
    let base = copy(&home.path("."), "mixtral");
    with_tokenizer(&base);
    // a short context, since `prune` and `retrofit` use rows of this length
    configure(&base, "max_position_embeddings", 32);
    fs::rename(home.path("mixtral"), home.path("base")).unwrap();
    let lora = home.path("lora");
    fs::create_dir(&lora).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let adapter = fixture("adapter_mixtral").join(file);
        fs::copy(adapter, lora.join(file)).unwrap();
    }
    home.done("export --model base --adapter lora --format hf --out merged");
    let weights = |model: &str| fs::read(home.path(model).join("model.safetensors")).unwrap();
    assert!(
        weights("merged") != weights("base"),
        "the adapter makes a difference"
    );
    let line = |number: usize| {
        let domain = ["code", "legal"][number % 2];
        format!("{{\"text\": \"document {number} says {number}\", \"domain\": \"{domain}\"}}\n")
    };
    home.write("text.jsonl", (0..60).map(line).collect::<String>());
    home
}

/// Runs `command` on `base` with the adapter and on `merged`; `found` extracts the results from its output.
fn made<T>(home: &Home, command: &str, found: impl Fn(&str, &str) -> T) -> [T; 2] {
    ["base --adapter lora", "merged"].map(|model| {
        let call = command.replace("MODEL", model);
        let (said, _) = home.done(&call.replace("OUT", "out"));
        let made = found(&said, "out");
        let _ = fs::remove_dir_all(home.path("out"));
        made
    })
}

/// The file of weights of a run's newest checkpoint.
fn weights(home: &Home, run: &str) -> Vec<u8> {
    let checkpoints = fs::read_dir(home.path(run).join("checkpoints")).unwrap();
    let mut steps: Vec<_> = checkpoints.map(|step| step.unwrap().path()).collect();
    steps.sort();
    fs::read(steps.last().unwrap().join("model.safetensors")).unwrap()
}

fn assert_applied<T: PartialEq>(command: &str, [adapted, merged]: [T; 2]) {
    assert!(adapted == merged, "{command}: the adapter is not added");
}

#[test]
fn an_adapter_is_added_by_every_command_that_writes_a_run() {
    let home = home();
    let text = "--data text.jsonl --out OUT";
    for command in [
        "import --from MODEL --out OUT",
        &format!("prune --model MODEL --keep 4 --by load {text}"),
        &format!("retrofit --model MODEL --k-target 1.5 --steps 1 {text}"),
        &format!(
            "train --init-from MODEL --no-valid --steps 1 --seq-len 16 --batch-size 2 {text} --quiet"
        ),
    ] {
        let runs = made(&home, command, |_, out| weights(&home, out));
        assert_applied(command, runs);
    }
}

#[test]
fn an_adapter_is_added_by_every_command_that_measures() {
    let home = home();
    let json = |said: &str| serde_json::from_str::<Value>(said).unwrap();
    let ids = "--ids 5,6,7 --print-ids --temperature 0 --max-tokens 8";
    let command = format!("inference --model MODEL {ids}");
    let [adapted, merged] = made(&home, &command, |said, _| said.to_owned());
    let (base, _) = home.done(&format!("inference --model base {ids}"));
    assert_ne!(adapted, base, "the adapter makes a difference");
    assert_applied(&command, [adapted, merged]);
    let command = "bench --model MODEL --prompt 4 --new 8 --runs 1 --json";
    let generated = |said: &str, _: &str| json(said)["cases"][0]["ids"].clone();
    assert_applied(command, made(&home, command, generated));
    let command = "evaluate --model MODEL --data text.jsonl --json";
    let loss = |said: &str, _: &str| json(said)["loss"].clone();
    assert_applied(command, made(&home, command, loss));
    let command = "routes --model MODEL --data text.jsonl --tokens 300 --json";
    let visits = |said: &str, _: &str| -> Vec<Value> {
        let layers = json(said)["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["visits"].clone()).collect()
    };
    assert_applied(command, made(&home, command, visits));
    // compares the model with the adapter to the model without it
    let (said, _) = home.done(
        "routes --model base --adapter lora --against base --data text.jsonl --tokens 300 --json",
    );
    assert_eq!(json(&said)["model"], "base with lora");
    assert_eq!(json(&said)["against"], "base");
}

#[test]
fn an_adapter_of_nothing_is_refused_in_a_line() {
    let home = home();
    home.done("import --from base --out run");
    let refused = |arguments: &str| home.refused(&format!("{arguments} --adapter lora"));
    for command in [
        "routes --data text.jsonl --model",
        "prune --data text.jsonl --keep 4 --out out --model",
        "retrofit --data text.jsonl --k-target 1.5 --out out --model",
        "train --data text.jsonl --steps 1 --out out --init-from",
        "bench --model",
    ] {
        let line = refused(&format!("{command} run"));
        assert!(
            line.starts_with("run is a run, and `--adapter` is for"),
            "{command}: {line}"
        );
    }
    for (command, option) in [
        ("bench --random-weights --params tiny", "--model"),
        ("routes --data text.jsonl", "--model"),
        ("train --data text.jsonl", "--init-from"),
        ("train --out run --resume", "--init-from"),
    ] {
        let expected = format!("`--adapter` changes a model: name that by `{option} PATH`");
        assert_eq!(refused(command), expected, "{command}");
    }
    for command in [
        "plan --model base",
        "tokenize --model base --text a",
        "render --model base",
    ] {
        assert_eq!(
            refused(command),
            "`--adapter` changes the weights of a model, and this command reads none: leave it out"
        );
    }
    assert!(!home.path("out").exists());
}
