//! Effects of a model folder's files around the weights: tokens, end tokens, settings, card.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json as value};

use crate::command::{fixture, json, refused, run, shown, text};

fn report(name: &str) -> PathBuf {
    fixture("reports").join(name)
}

/// A copy of a report's folder with changed JSON files.
fn changed(name: &str, folder: &Path, change: impl Fn(&str, &mut Value)) -> PathBuf {
    let copy = folder.join(format!("{name}-changed"));
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(report(name)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".json") {
            let mut content = json(path.clone());
            change(name, &mut content);
            fs::write(copy.join(name), content.to_string()).unwrap();
        } else {
            fs::copy(&path, copy.join(name)).unwrap();
        }
    }
    copy
}

/// Number of tokens that a command reads, according to `--stats`.
fn prefill(model: &Path, prompt: &str) -> usize {
    let output = run(&[
        "inference",
        "--model",
        text(model),
        "--prompt",
        prompt,
        "--max-tokens",
        "1",
        "--stats",
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    let (_, count) = told
        .split_once("prefill ")
        .unwrap_or_else(|| panic!("{told}"));
    count.split(' ').next().unwrap().parse().unwrap()
}

fn template(before: &[&str], ids: &[u32]) -> Value {
    let special = |name: &&str| value!({"SpecialToken": {"id": name, "type_id": 0}});
    let around = |text: &str| -> Vec<Value> {
        let text = value!({"Sequence": {"id": text, "type_id": 0}});
        before.iter().map(special).chain([text]).collect()
    };
    let tokens = before.iter().zip(ids).map(|(name, id)| {
        (
            name.to_string(),
            value!({"id": name, "ids": [id], "tokens": [name]}),
        )
    });
    let tokens: serde_json::Map<_, _> = tokens.collect();
    let pair = [around("A"), around("B")].concat();
    value!({"type": "TemplateProcessing", "single": around("A"), "pair": pair, "special_tokens": tokens})
}

#[test]
fn before_a_prompt_stands_what_the_post_processor_puts_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let plain = report("bos_not_added");
    assert_eq!(prefill(&plain, "the lamp is on"), 4);
    // transformers 5 ignores the flag if there is a tokenizer.json
    let flag = changed("bos_not_added", folder.path(), |name, content| {
        if name == "tokenizer_config.json" {
            content["add_bos_token"] = true.into();
        }
    });
    assert_eq!(prefill(&flag, "the lamp is on"), 4);
    for (before, ids, bos) in [
        (&["<|im_start|>"][..], &[1][..], true),
        (&["<|endoftext|>", "<|im_end|>"], &[0, 2], false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let model = changed("bos_not_added", folder.path(), |name, content| {
            if name == "tokenizer.json" {
                content["post_processor"] = template(before, ids);
            }
        });
        assert_eq!(prefill(&model, "the lamp is on"), 4 + before.len());
        let shown_ids =
            |model: &Path| shown(&["tokenize", "--model", text(model), "--text", "the"]);
        let expected: Vec<String> = ids.iter().chain(&[270]).map(u32::to_string).collect();
        assert_eq!(shown_ids(&model), format!("{}\n", expected.join(",")));
        // an exported folder gives equal ids
        let out = folder.path().join("out");
        shown(&[
            "export",
            "--model",
            text(&model),
            "--format",
            "hf",
            "--out",
            text(&out),
        ]);
        assert_eq!(shown_ids(&out), shown_ids(&model));
        let config = json(out.join("tokenizer_config.json"));
        assert_eq!(config["add_bos_token"], bos);
        // GGUF has a flag for the token at the beginning only
        let gguf = folder.path().join("out.gguf");
        shown(&[
            "export",
            "--model",
            text(&model),
            "--format",
            "gguf",
            "--out",
            text(&gguf),
        ]);
        let expected = if bos { "1,270\n" } else { "270\n" };
        assert_eq!(shown_ids(&gguf), expected);
    }
}

#[test]
fn a_text_is_learned_whole_whatever_token_is_called_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let model = report("bos_im_start");
    let data = model.join("text.jsonl");
    let record = shown(&[
        "evaluate",
        "--model",
        text(&model),
        "--data",
        text(&data),
        "--json",
        "--batch-size",
        "1",
    ]);
    let record: Value = serde_json::from_str(&record).unwrap();
    let domains = record["domains"].as_array().unwrap();
    let tokens: u64 = domains
        .iter()
        .map(|it| it["tokens"].as_u64().unwrap())
        .sum();
    assert!([152, 160].contains(&tokens), "{record}");
    assert!(record["loss"].as_f64().unwrap() > 0.0, "{record}");
    let out = folder.path().join("run");
    shown(&[
        "train",
        "--init-from",
        text(&model),
        "--data",
        text(&data),
        "--valid",
        text(&data),
        "--out",
        text(&out),
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--seq-len",
        "32",
    ]);
    let journal = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let losses: Vec<f64> = lines
        .filter_map(|line| line["step"]["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 2);
    assert!(losses.iter().all(|&loss| loss > 0.1), "{losses:?}");
}

#[test]
fn ends_and_settings_of_generation_config_are_used_and_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let model = report("generation_config");
    let told = [
        "inference",
        "--model",
        text(&model),
        "--prompt",
        "the",
        "--max-tokens",
        "12",
    ];
    assert_eq!(shown(&told), "the lamp is\n");
    let output = run(&[&told[..], &["--stats"]].concat());
    let stats = String::from_utf8(output.stderr).unwrap();
    assert!(stats.starts_with("the likeliest token, "), "{stats}");
    assert!(stats.contains("from generation_config.json"), "{stats}");
    assert!(stats.contains("; ends at 0, 2\n"), "{stats}");

    let (out, gguf) = (folder.path().join("out"), folder.path().join("out.gguf"));
    shown(&[
        "export",
        "--model",
        text(&model),
        "--format",
        "hf",
        "--out",
        text(&out),
    ]);
    let written = json(out.join("generation_config.json"));
    assert_eq!(written, json(model.join("generation_config.json")));
    assert_eq!(json(out.join("config.json"))["eos_token_id"], 0);
    shown(&[
        "export",
        "--model",
        text(&model),
        "--format",
        "gguf",
        "--out",
        text(&gguf),
    ]);
    for copy in [&out, &gguf] {
        let told = [
            "inference",
            "--model",
            text(copy),
            "--prompt",
            "the",
            "--max-tokens",
            "12",
        ];
        let likeliest = [&told[..], &["--temperature", "0"]].concat();
        assert_eq!(shown(&likeliest), "the lamp is\n", "{copy:?}");
    }
}

#[test]
fn a_card_says_what_is_known_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let model = report("generation_config");
    let card = |model: &Path, name: &str| {
        let out = folder.path().join(name);
        shown(&[
            "export",
            "--model",
            text(model),
            "--format",
            "hf",
            "--out",
            text(&out),
        ]);
        fs::read_to_string(out.join("README.md")).unwrap()
    };
    let copied = card(&model, "copied");
    assert!(
        copied.contains("license: other\nlicense_name: example-community\n"),
        "{copied}"
    );
    assert!(
        copied.contains("A dense language model in files written by"),
        "{copied}"
    );
    for false_here in ["apache-2.0", "Mixture", "trained", "language:"] {
        assert!(!copied.contains(false_here), "{false_here}: {copied}");
    }
    // the license is kept with the weights, also through a run
    let (run, data) = (
        folder.path().join("run"),
        report("bos_im_start").join("text.jsonl"),
    );
    shown(&[
        "train",
        "--init-from",
        text(&model),
        "--data",
        text(&data),
        "--valid",
        text(&data),
        "--out",
        text(&run),
        "--steps",
        "1",
        "--batch-size",
        "1",
        "--seq-len",
        "32",
    ]);
    let tuned = card(&run, "tuned");
    assert!(tuned.contains("license: other\n"), "{tuned}");
    assert!(
        tuned.contains("A dense language model trained further with"),
        "{tuned}"
    );
    let generation = json(folder.path().join("tuned/generation_config.json"));
    assert_eq!(generation["do_sample"], false);
    let silent = card(&report("bos_not_added"), "silent");
    assert!(!silent.contains("license"), "{silent}");
}

#[test]
fn the_first_word_after_a_prompt_keeps_its_space_whatever_decoder_it_has() {
    let decoders = [
        value!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        value!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
    ];
    for decoder in decoders {
        let folder = tempfile::tempdir().unwrap();
        // equal tokens in SentencePiece's spelling
        let model = changed("generation_config", folder.path(), |name, content| {
            if name == "tokenizer.json" {
                let spelled: Value =
                    serde_json::from_str(&content.to_string().replace('Ġ', "▁")).unwrap();
                *content = spelled;
                content["pre_tokenizer"] = value!({"type": "Metaspace", "replacement": "▁",
                    "prepend_scheme": "never", "split": true});
                content["decoder"] = decoder.clone();
            }
        });
        let told = ["inference", "--model", text(&model), "--max-tokens", "12"];
        assert_eq!(
            shown(&[&told[..], &["--prompt", "the"]].concat()),
            "the lamp is\n"
        );
        let ids = shown(&[&told[..3], &["--max-tokens", "2", "--ids", "270"]].concat());
        assert_eq!(ids, " lamp is\n");
    }
}

#[test]
fn a_file_that_says_something_impossible_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = changed("generation_config", folder.path(), |name, content| {
        if name == "generation_config.json" {
            content["temperature"] = value!(-1);
        }
    });
    let error = refused(&["inference", "--model", text(&model), "--prompt", "the"]);
    assert!(
        error.contains("generation_config.json: `temperature` is -1, expected 0 or more"),
        "{error}"
    );
    let error = refused(&["tokenize", "--tokenizer", "no-such-folder", "--text", "x"]);
    assert!(error.contains("no-such-folder"), "{error}");
}

#[test]
fn text_and_ids_go_both_ways_on_the_command_line() {
    let model = report("bos_not_added");
    let ids = shown(&[
        "tokenize",
        "--model",
        text(&model),
        "--text",
        "the lamp",
        "--text",
        "-x",
    ]);
    let mut lines = ids.lines();
    assert_eq!(lines.next(), Some("270,334"));
    assert_eq!(lines.count(), 1);
    let decoded = shown(&[
        "tokenize",
        "--tokenizer",
        text(&model),
        "--decode",
        "270,334",
    ]);
    assert_eq!(decoded, "the lamp\n");
}
