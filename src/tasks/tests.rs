//! Requests of whole tasks, and what is said of wrong ones.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use darkhorse_backends::select::Selected;
use serde_json::{Map, Value, json};

use super::task::Asked;
use super::{Evaluated, Subject, Task, TaskError, TaskOptions, TaskScore, evaluate, evaluate_task};
use crate::inference::Limits;
use crate::model::{CausalLm, ModelConfig};
use crate::tokenizer::Tokenizer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks")
}

/// `tests/peers/task_prompts.py` wrote the requests with lm-evaluation-harness: of the files in the folder, and of
/// its own tasks under the names of the built-in ones.
#[test]
fn requests_are_those_of_lm_evaluation_harness() {
    let folder = fixtures();
    let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Map<String, Value> = serde_json::from_str(&expected).unwrap();
    assert!(expected.len() >= 28, "{}", expected.len());
    for (label, expected) in &expected {
        let (name, shots) = label.split_once(' ').unwrap();
        let options = TaskOptions {
            data: Some(folder.join("hub")),
            num_fewshot: shots.parse().ok(),
        };
        let file = folder.join(name);
        let is_file = name.ends_with(".yaml");
        let name = if is_file {
            file.to_str().unwrap()
        } else {
            name
        };
        let task = Task::open(name, &options).unwrap();
        let items = task.items(usize::MAX).unwrap();
        let mut found = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match &item.asked {
                Asked::Choices { pairs, .. } => {
                    found.extend(
                        pairs
                            .iter()
                            .map(|[before, after]| json!([at, before, after])),
                    );
                }
                Asked::Continuation([before, after]) => found.push(json!([at, before, after])),
                Asked::Prompt { prompt, .. } => found.push(json!([at, prompt, null])),
            }
        }
        let asked = expected[0].as_array().unwrap();
        for (found, expected) in found.iter().zip(asked) {
            assert_eq!(found, expected, "{label}");
        }
        assert_eq!(found.len(), asked.len(), "{label}");
        let targets: Vec<&Value> = items.iter().map(|item| &item.target).collect();
        assert_eq!(json!(targets), expected[1], "{label}");
    }
}

/// Opens a task of these lines in place of those with the same key, and makes its requests.
fn error(changes: &str, data: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = vec![
        "task: t",
        "dataset_path: json",
        "dataset_kwargs: {data_files: {test: data.jsonl}}",
        "test_split: test",
        "output_type: multiple_choice",
        "doc_to_text: q",
        "doc_to_choice: [x, y]",
        "doc_to_target: a",
    ];
    for change in changes.lines() {
        let (key, value) = change.split_once(':').unwrap();
        lines.retain(|line| !line.starts_with(&format!("{key}:")));
        if value != " -" {
            lines.push(change);
        }
    }
    let path = folder.path().join("t.yaml");
    fs::write(&path, lines.join("\n")).unwrap();
    fs::write(folder.path().join("data.jsonl"), data).unwrap();
    let task = Task::open(path.to_str().unwrap(), &TaskOptions::default());
    let error = task.and_then(|task| task.items(9)).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error.replace(&folder.path().display().to_string(), "")
}

#[test]
fn what_is_wrong_with_a_task_is_told_in_a_line() {
    let data = "{\"q\": \"Q\", \"a\": 1}";
    for (changes, data, expected) in [
        ("task: -", data, "/t.yaml: `task` is missing"),
        (
            "doc_to_target: -",
            data,
            "/t.yaml: `doc_to_target` is missing",
        ),
        (
            "doc_to_choice: -",
            data,
            "/t.yaml: `doc_to_choice` is missing, which `multiple_choice` needs",
        ),
        (
            "test_split: -",
            data,
            "/t.yaml: `test_split` or `validation_split` is missing",
        ),
        (
            "dataset_kwargs: -",
            data,
            "task `t`: `dataset_kwargs.data_files` is missing",
        ),
        (
            "process_docs: x",
            data,
            "/t.yaml: `process_docs` changes the results and is not supported",
        ),
        (
            "process_docs: !function u.f",
            data,
            "/t.yaml:9: `process_docs` is the Python function `u.f`",
        ),
        (
            "doc_to_texts: x",
            data,
            "/t.yaml: `doc_to_texts` is no key of a task",
        ),
        (
            "output_type: loglikelihood_rolling",
            data,
            "/t.yaml: `output_type`: unknown variant",
        ),
        (
            "num_fewshot: -1",
            data,
            "/t.yaml: `num_fewshot`: invalid value",
        ),
        ("repeats: 2", data, "/t.yaml: `repeats` is 2, expected 1"),
        (
            "metric_list: [{metric: f1}]",
            data,
            "/t.yaml: the metric `f1` is not supported",
        ),
        (
            "generation_kwargs: {do_sample: yes}",
            data,
            "/t.yaml: `generation_kwargs` ask for sampling",
        ),
        (
            "generation_kwargs: {top_p: 0.5}",
            data,
            "/t.yaml: `generation_kwargs.top_p`: unknown field `top_p`",
        ),
        (
            "fewshot_config: {sampler: balanced}",
            data,
            "/t.yaml: `fewshot_config.sampler`: unknown variant",
        ),
        (
            "test_split: dev",
            data,
            "task `t`: there is no split `dev` in `data_files`, which has `test`",
        ),
        (
            "dataset_path: a/b",
            data,
            "task `t`: its data set is `a/b` of Hugging Face's hub: give the folder",
        ),
        ("task: [a, b]", data, "/t.yaml: `task` is not a name"),
        (
            "doc_to_text: '{{question}}'",
            data,
            "task `t`, document 0 of `test`: `doc_to_text`: the record has no field `question`, it has `q`, `a`",
        ),
        (
            "doc_to_text: '{{ q'",
            data,
            "/t.yaml: `doc_to_text`: the template fails",
        ),
        (
            "num_fewshot: 1\nfewshot_split: test",
            data,
            "task `t`, document 0 of `test`: 1 few-shot examples are asked for, of 0 documents",
        ),
        (
            "doc_to_text: q",
            "{\"q\": null}",
            "task `t`, document 0 of `test`: `doc_to_text`: the field `q` is null",
        ),
        (
            "doc_to_text: q",
            "",
            "task `t`: the split `test` has no records",
        ),
        ("doc_to_text: q", "{\"q\": ", "/data.jsonl:1: no JSON"),
    ] {
        let error = error(changes, data);
        assert!(error.starts_with(expected), "{error}, expected {expected}");
    }
    let unknown = Task::open("arc_eazy", &TaskOptions::default()).unwrap_err();
    assert!(
        unknown
            .to_string()
            .starts_with("`arc_eazy` is neither a task file nor")
    );
    let options = TaskOptions {
        data: Some("/nowhere".into()),
        num_fewshot: None,
    };
    let absent = Task::open("arc_easy", &options).unwrap_err().to_string();
    assert!(
        absent.contains("/nowhere/ai2_arc/ARC-Easy/test-00000-of-00001.parquet"),
        "{absent}"
    );
}

/// A small model with random weights, over bytes.
fn model() -> (CausalLm<Selected>, Limits) {
    let config = json!({
        "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24,
        "max_position_embeddings": 256, "initializer_range": 0.5, "rope": {}, "layer_types": ["gqa"],
        "domains": {"mode": "off"},
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}}
    });
    let config: ModelConfig = serde_json::from_value(config).unwrap();
    let model = CausalLm::init(&config, 1, &Default::default());
    (model, Limits::of(&config))
}

#[test]
fn scores_add_up_from_samples_and_texts_end_where_they_should() {
    let (model, limits) = model();
    let tokenizer = Tokenizer::bytes();
    let mut subject = Subject {
        model: &model,
        tokenizer: &tokenizer,
        limits,
        stop_ids: Vec::new(),
    };
    let open = |name: &str| {
        let file = fixtures().join(name);
        Task::open(file.to_str().unwrap(), &TaskOptions::default()).unwrap()
    };
    let mut parts = Vec::new();
    let task = open("random.yaml");
    let found = evaluate_task(&subject, &task, Some(4), |done, all| {
        parts.push([done, all]);
        ControlFlow::Continue(())
    });
    let Evaluated { score, samples } = found.unwrap();
    assert_eq!(parts.last(), Some(&[13, 13]));
    assert_eq!((score.documents, score.available, samples.len()), (4, 5, 4));
    let value = |at: usize, name: &str| samples[at][name].as_f64().unwrap();
    for (metric, name) in score.metrics.iter().zip(["acc", "acc_norm"]) {
        assert_eq!(metric.metric, name);
        assert_eq!(
            metric.value,
            (0..4).map(|at| value(at, name)).sum::<f64>() / 4.0
        );
        assert_eq!(metric.chance, Some((1.0 / 3.0 * 3.0 + 1.0 / 4.0) / 4.0));
    }
    let again: TaskScore = serde_json::from_value(json!(score)).unwrap();
    assert_eq!(again, score);
    assert_eq!(evaluate(&subject, &[task], Some(4)).unwrap(), [score]);

    let task = open("written.yaml");
    let whole = evaluate_task(&subject, &task, None, |_, _| ControlFlow::Continue(())).unwrap();
    let text = |sample: &Value| sample["resps"][0][0].as_str().unwrap().to_owned();
    let texts: Vec<String> = whole.samples.iter().map(text).collect();
    assert!(
        texts.iter().any(|text| text.chars().count() > 1),
        "{texts:?}"
    );
    assert!(!texts.iter().any(|text| text.contains('\n')), "{texts:?}");
    // an id that ends texts ends these where it comes
    let longest = texts.iter().max_by_key(|text| text.len()).unwrap();
    let last = longest.chars().next_back().unwrap();
    subject.stop_ids = tokenizer.encode(&last.to_string()).unwrap();
    let cut = evaluate_task(&subject, &task, None, |_, _| ControlFlow::Continue(())).unwrap();
    for (cut, whole) in cut.samples.iter().map(text).zip(&texts) {
        assert_eq!(cut, whole.split(last).next().unwrap());
    }
    let stopped = evaluate_task(&subject, &task, None, |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(TaskError::Stopped)));
}
