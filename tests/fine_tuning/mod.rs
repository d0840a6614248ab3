//! Fine-tuning of an existing model from the command line.

use std::fs;
use std::path::Path;

use crate::command::{fixture, json, logits, logits_with, refused, shown, text};
use safetensors::tensor::SafeTensors;
use serde_json::{Value, json as value};

/// Two documents of two domains, repeated many times.
fn documents(folder: &Path) -> String {
    let file = folder.join("documents.jsonl");
    let lines = [
        value!({"domain": "code", "text": "fn main() { println!(\"one, two, three\"); }"}),
        value!({"domain": "legal", "text": "The court held that one and two are three, and so ordered."}),
    ];
    let lines: String = (0..20).map(|at| format!("{}\n", lines[at % 2])).collect();
    fs::write(&file, lines).unwrap();
    text(&file).to_owned()
}

fn train(from: &Path, out: &Path, data: &str, more: &[&str]) {
    let start = ["train", "--init-from", text(from), "--out", text(out)];
    let data = ["--data", data, "--valid", data];
    let size = [
        "--steps",
        "2",
        "--batch-size",
        "1",
        "--learning-rate",
        "1e-9",
    ];
    shown(&[&start[..], &data, &size, more].concat());
}

/// The records of one kind in a run's journal.
fn journal(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    records
        .filter_map(|record: Value| record.get(kind).cloned())
        .collect()
}

#[test]
fn the_first_loss_is_that_of_the_weights_it_begins_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    for name in ["deepseek_v3_yarn", "llama_llama3rope"] {
        let at = |kind: &str| folder.path().join(format!("{name}-{kind}"));
        let (imported, tuned) = (at("imported"), at("tuned"));
        shown(&[
            "import",
            "--from",
            text(&fixture(name)),
            "--out",
            text(&imported),
        ]);
        train(&imported, &tuned, &data, &[]);
        let of_model = ["evaluate", "--checkpoint", text(&imported), "--data", &data];
        let of_model = shown(&[&of_model[..], &["--batch-size", "1", "--json"]].concat());
        let of_model: Value = serde_json::from_str(&of_model).unwrap();
        let first = &journal(&tuned, "eval")[0];
        assert_eq!(
            (&first["step"], &first["loss"]),
            (&value!(0), &of_model["loss"]),
            "{name}"
        );
        // the steps train on this text in other rows, and change no weight
        let expected = of_model["loss"].as_f64().unwrap();
        let steps = journal(&tuned, "step");
        assert_eq!(steps.len(), 2, "{name}");
        for step in steps {
            let loss = step["loss"].as_f64().unwrap();
            assert!(
                (loss - expected).abs() < 0.02 * expected,
                "{name}: {loss}, {expected}"
            );
        }
        let card = at("exported").join("README.md");
        let export = [
            "export",
            "--checkpoint",
            text(&tuned),
            "--format",
            "hf",
            "--out",
        ];
        shown(&[&export[..], &[text(&at("exported"))]].concat());
        let card = fs::read_to_string(card).unwrap();
        let last = journal(&tuned, "eval").pop().unwrap();
        for (row, loss) in [
            ("Validation loss", &last["loss"]),
            ("code", &last["domains"][0]["loss"]),
            ("Training loss", &journal(&tuned, "step")[1]["loss"]),
        ] {
            let line = format!("| {row} | {:.4} nats per token |", loss.as_f64().unwrap());
            assert!(card.contains(&line), "{name}: {line} {card}");
        }
        assert!(card.contains("| Training steps | 2 |"), "{card}");
        let [ours, theirs] = [&tuned, &imported].map(|run| json(run.join("config.json")));
        assert_eq!(ours["model"], theirs["model"], "{name}");
        let [ours, theirs] =
            [&tuned, &imported].map(|run| fs::read(run.join("tokenizer.json")).unwrap());
        assert!(ours == theirs, "{name}");
        let [resumed, data] = [text(&tuned), &data];
        shown(&[
            "train", "--out", resumed, "--resume", "--steps", "3", "--data", data,
        ]);
        assert_eq!(journal(&tuned, "step").len(), 3, "{name}");
    }
}

/// Exports a run to a folder.
fn exported(run: &Path, out: &Path) {
    let export = ["export", "--checkpoint", text(run), "--format", "hf"];
    shown(&[&export[..], &["--out", text(out)]].concat());
}

#[test]
fn a_tuned_model_goes_out_with_the_special_tokens_of_the_one_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    let at = |name: &str| folder.path().join(name);
    let source = at("source");
    fs::create_dir(&source).unwrap();
    for entry in fs::read_dir(fixture("deepseek_v3_yarn")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, source.join(path.file_name().unwrap())).unwrap();
    }
    // two end-of-text tokens, of which the tokenizer names one
    let mut config = json(source.join("config.json"));
    let tokens = json(source.join("tokenizer.json"))["added_tokens"].clone();
    config["eos_token_id"] = value!([tokens[1]["id"], tokens[2]["id"]]);
    fs::write(source.join("config.json"), config.to_string()).unwrap();

    train(&source, &at("tuned"), &data, &[]);
    train(&at("tuned"), &at("tuned-again"), &data, &[]);
    exported(&at("tuned-again"), &at("out"));
    let found = json(at("out").join("config.json"));
    for key in ["bos_token_id", "eos_token_id"] {
        assert_eq!(found[key], config[key], "{key}");
    }
    let [found, expected] =
        [at("out"), source].map(|folder| json(folder.join("tokenizer_config.json")));
    assert!(expected["chat_template"].is_string());
    for key in ["bos_token", "chat_template"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
}

#[test]
fn a_tuned_model_goes_out_without_the_copies_that_were_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    let at = |name: &str| folder.path().join(name);
    let (source, name) = (fixture("deepseek_v3_mtp2"), "model.safetensors");
    let bare = at("bare");
    fs::create_dir(&bare).unwrap();
    fs::copy(source.join("config.json"), bare.join("config.json")).unwrap();
    let weights = fs::read(source.join(name)).unwrap();
    let weights = SafeTensors::deserialize(&weights).unwrap();
    let is_copy = |name: &str| name.contains("shared_head.head");
    let tensors = weights.tensors().into_iter();
    let tensors: Vec<_> = tensors.filter(|(name, _)| !is_copy(name)).collect();
    assert_eq!(tensors.len() + 2, weights.len());
    safetensors::serialize_to_file(tensors.clone(), None, &bare.join(name)).unwrap();
    let tokenizer = value!({"version": "1.0", "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "one": 1, "two": 2}}});
    fs::write(at("words.json"), tokenizer.to_string()).unwrap();

    let words = at("words.json");
    train(
        &bare,
        &at("tuned"),
        &data,
        &["--tokenizer", text(&words), "--seq-len", "16"],
    );
    exported(&at("tuned"), &at("out"));
    let written = fs::read(at("out").join(name)).unwrap();
    let written = SafeTensors::deserialize(&written).unwrap();
    let mut names = written.names();
    names.sort_unstable();
    let mut expected: Vec<_> = tensors.iter().map(|(name, _)| &name[..]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn domains_come_to_a_model_that_had_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    let tuned = folder.path().join("tuned");
    train(
        &fixture("deepseek_v3_yarn"),
        &tuned,
        &data,
        &["--domains", "soft"],
    );
    assert_eq!(
        json(tuned.join("config.json"))["model"]["domains"]["mode"],
        "soft"
    );
    let table = &journal(&tuned, "eval")[0]["routing_tagged"]["share"];
    assert!(
        table.as_array().is_some_and(|rows| rows.len() == 10),
        "{table}"
    );
}

/// A copy of a folder in which the tensors of another file replace those of the same names.
fn patched(folder: &Path, file: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::copy(folder.join("config.json"), to.join("config.json")).unwrap();
    let [weights, others] =
        [&folder.join("model.safetensors"), file].map(|it| fs::read(it).unwrap());
    let [weights, others] = [&weights, &others].map(|it| SafeTensors::deserialize(it).unwrap());
    let tensors = weights.tensors().into_iter();
    let tensors = tensors.map(|(name, own)| match others.tensor(&name) {
        Ok(other) => (name, other),
        Err(_) => (name, own),
    });
    let biases = weights.names().into_iter();
    let biases = biases.filter(|name| name.ends_with("e_score_correction_bias"));
    assert_eq!(others.len(), biases.count());
    safetensors::serialize_to_file(tensors, None, &to.join("model.safetensors")).unwrap();
}

#[test]
fn a_domain_s_file_of_biases_routes_as_its_tag_does() {
    let folder = tempfile::tempdir().unwrap();
    let name = "deepseek_v3_yarn";
    let data = documents(folder.path());
    let [run, out] = ["run", "out"].map(|name| folder.path().join(name));
    train(&fixture(name), &run, &data, &["--domains", "soft"]);
    let export = |out: &Path, more: &[&str]| {
        let export = [
            "export",
            "--checkpoint",
            text(&run),
            "--format",
            "hf",
            "--out",
        ];
        shown(&[&export[..], &[text(out)], more].concat());
    };
    export(&out, &[]);
    let files = fs::read_dir(out.join("domain_bias")).unwrap();
    assert_eq!(files.count(), 10);
    let plain = logits(&run, name);
    assert!(logits(&out, name) == plain);
    for domain in ["code", "legal", "general"] {
        let tagged = logits_with(&run, name, &["--domain", domain]);
        assert!(tagged != plain, "{domain}");
        let at = |kind: &str| folder.path().join(format!("{domain}-{kind}"));
        let file = out.join(format!("domain_bias/{domain}.safetensors"));
        patched(&out, &file, &at("patched"));
        assert!(logits(&at("patched"), name) == tagged, "{domain}");
        export(&at("folded"), &["--domain", domain]);
        assert!(logits(&at("folded"), name) == tagged, "{domain}");
    }
}

#[test]
fn a_run_goes_on_with_its_own_model_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    let run = folder.path().join("run");
    train(&fixture("deepseek_v3_yarn"), &run, &data, &[]);
    let before = fs::read(run.join("metrics.jsonl")).unwrap();
    let go_on = ["train", "--resume", "--out", text(&run), "--data", &data];
    let line = refused(&[&go_on[..], &["--params", "tiny"]].concat());
    for part in [
        "`model.domains.mode` is",
        "in `tiny`, but",
        "leave `--resume` out",
        "`--params` out",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(fs::read(run.join("metrics.jsonl")).unwrap() == before);
    // the run's own config.json describes an equal model
    let config = run.join("config.json");
    let same = ["--config", text(&config), "--steps", "3"];
    shown(&[&go_on[..], &same[..]].concat());
    assert_eq!(journal(&run, "step").len(), 3);
}

#[test]
fn what_does_not_go_together_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = documents(folder.path());
    let out = folder.path().join("out");
    let (small, with) = (fixture("deepseek_v3_plain"), fixture("deepseek_v3_yarn"));
    let line = |from: &Path, more: &[&str]| {
        let start = [
            "train",
            "--init-from",
            text(from),
            "--out",
            text(&out),
            "--data",
            &data,
        ];
        let line = refused(&[&start[..], more].concat());
        assert!(!out.exists(), "{line}");
        line
    };
    for more in [
        ["--params", "tiny"],
        ["--config", "x.json"],
        ["--train-tokenizer", "300"],
    ] {
        let line = line(&with, &more);
        assert!(line.contains("cannot be used with"), "{line}");
        assert!(line.contains(more[0]), "{line}");
    }
    let without = line(&small, &[]);
    assert!(
        without.contains("has no tokenizer: name one by `--tokenizer FILE`"),
        "{without}"
    );
    let tokenizer = with.join("tokenizer.json");
    let larger = line(&small, &["--tokenizer", text(&tokenizer)]);
    assert!(
        larger.contains("the model 160: they do not belong together"),
        "{larger}"
    );
    let long = line(&with, &["--seq-len", "257"]);
    assert!(
        long.contains("`training.seq_len` is 257, expected at most"),
        "{long}"
    );
}
