//! `evaluate --tasks`.

use std::fs;

use serde_json::Value;

use crate::home::Home;
use crate::model::{copy, with_tokenizer};

const TASK: &str = "task: things\ndataset_path: json\ndataset_kwargs: {data_files: {test: things.jsonl}}\n\
                    test_split: test\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: options\n\
                    doc_to_target: a\n";

fn home() -> Home {
    let home = Home::new();
    with_tokenizer(&copy(&home.path("."), "llama_tied"));
    home.write("things.yaml", TASK);
    home.write(
        "cloze.yaml",
        TASK.replace("things", "cloze")
            .replace("multiple_choice", "loglikelihood"),
    );
    let records = "{\"q\": \"a\", \"options\": [\"b\", \"cd\"], \"a\": 0}\n".repeat(3);
    home.write("things.jsonl", &records);
    home.write("cloze.jsonl", records.replace("\"a\": 0", "\"a\": \" b\""));
    home
}

#[test]
fn tasks_are_scored_in_a_table_or_in_lm_evaluation_harness_layout() {
    let home = home();
    let command = "evaluate --model llama_tied --tasks things.yaml,cloze.yaml --limit 2";
    let (said, _) = home.done(command);
    let lines: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["task", "n", "shots", "metric", "value", "stderr", "chance"]
    );
    assert_eq!(lines[1][..4], ["things", "2", "0", "acc"]);
    assert_eq!(lines[1][5..], ["0.0000", "0.5000"]);
    assert_eq!(
        (lines.len(), lines[3][0], lines[3][3]),
        (5, "cloze", "perplexity")
    );

    let (said, _) = home.done(&format!("{command} --json --samples answers.jsonl"));
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["n-samples"]["things"]["original"], 3);
    assert_eq!(found["n-samples"]["things"]["effective"], 2);
    assert_eq!(found["versions"]["cloze"], "Yaml");
    let samples = fs::read_to_string(home.path("answers.jsonl")).unwrap();
    let samples: Vec<Value> = samples
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(samples.len(), 4);
    let [first, second] = [0, 1].map(|at| samples[0]["resps"][at][0][0].as_f64().unwrap());
    let right = f64::from(u8::from(first >= second));
    assert_eq!(samples[0]["acc"], right);
    assert_eq!(found["results"]["things"]["acc,none"], right);
    let log_likelihood = samples[2]["resps"][0][0][0].as_f64().unwrap();
    let perplexity = found["results"]["cloze"]["perplexity,none"]
        .as_f64()
        .unwrap();
    assert!((perplexity - (-log_likelihood).exp()).abs() < 1e-9 * perplexity);
    assert_eq!(samples[2]["arguments"]["gen_args_0"]["arg_1"], " b");
}

#[test]
fn a_task_that_cannot_be_asked_is_refused_in_a_line() {
    let home = home();
    home.write(
        "wrong.yaml",
        TASK.replace("doc_to_text: q", "doc_to_text: '{{question}}'"),
    );
    for (arguments, expected) in [
        (
            "--tasks wrong.yaml",
            "task `things`, document 0 of `test`: `doc_to_text`: the record has no field `question`",
        ),
        (
            "--tasks arc_easy",
            "task `arc_easy`: its data set is `allenai/ai2_arc`",
        ),
        ("--tasks things.yml", "cannot read `things.yml`"),
        (
            "--tasks things",
            "`things` is neither a task file nor a built-in task",
        ),
        (
            "--tasks things.yaml,things.yaml",
            "the task `things` is given twice",
        ),
        (
            "--tasks things.yaml --limit 0",
            "`--limit` is 0, expected 1 or more",
        ),
        (
            "--tasks things.yaml --data a.jsonl",
            "the argument '--tasks <FILE|NAME>' cannot be used with '--data",
        ),
        (
            "--data a.jsonl --limit 3",
            "`--limit` is about tasks: name them by `--tasks FILE`",
        ),
        (
            "--json",
            "the following required arguments were not provided: --data",
        ),
    ] {
        let line = home.refused(&format!("evaluate --model llama_tied {arguments}"));
        assert!(line.starts_with(expected), "{arguments}: {line}");
    }
}
