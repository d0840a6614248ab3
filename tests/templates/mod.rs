//! Conversations and chat templates from the command line.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json as value};

use crate::command::{fixture, refused, shown, text};

/// A copy of a small model with a ChatML template and these additional files.
fn model(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
    let copy = folder.join("model");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(fixture("reports/chatml")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    for (name, content) in files {
        fs::write(copy.join(name), content).unwrap();
    }
    copy
}

/// A file with one conversation, repeated eight times.
fn data(folder: &Path, name: &str, messages: Value) -> PathBuf {
    let file = folder.join(format!("{name}.jsonl"));
    let line = format!("{}\n", value!({"messages": messages}));
    fs::write(&file, line.repeat(8)).unwrap();
    file
}

fn evaluate<'a>(model: &'a Path, data: &'a Path) -> [&'a str; 8] {
    let [model, data] = [model, data].map(text);
    [
        "evaluate",
        "--model",
        model,
        "--data",
        data,
        "--json",
        "--batch-size",
        "1",
    ]
}

/// Number of learned tokens.
fn counted(model: &Path, data: &Path) -> u64 {
    let told = shown(&evaluate(model, data));
    let told: Value = serde_json::from_str(&told).unwrap();
    let domains = told["domains"].as_array().unwrap().iter();
    domains.map(|it| it["tokens"].as_u64().unwrap()).sum()
}

fn answer(content: &str) -> Value {
    value!([{"role": "user", "content": "the lamp is on the table"}, {"role": "assistant", "content": content}])
}

#[test]
fn no_answer_is_left_out_for_the_spaces_it_begins_with() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[]);
    for (name, content) in [
        ("plain", "return value"),
        ("indent", "    return value"),
        ("newlines", "\n\nreturn value"),
        ("tab", "\treturn value"),
    ] {
        let data = data(folder.path(), name, answer(content));
        let told = shown(&["render", "--model", text(&model), "--json", text(&data)]);
        let (mut all, mut lines) = (0, 0);
        for line in told.lines() {
            let told: Value = serde_json::from_str(line).unwrap();
            let [ids, learned] = ["ids", "learned"].map(|key| told[key].as_array().unwrap());
            // trained on are all ids after the second role's name, where the template's prompt ends
            let begins = ids.len() - learned.iter().filter(|it| **it == 1).count();
            assert!(learned[begins..].iter().all(|it| *it == 1), "{line}");
            let opened = ids.iter().rposition(|id| *id == 1).unwrap();
            assert_eq!(begins, opened + 2, "{name}: {line}");
            all += (ids.len() - begins) as u64;
            lines += 1;
        }
        assert!(lines > 0);
        assert_eq!(counted(&model, &data), all, "{name}");
    }
}

#[test]
fn what_a_turn_says_is_learned_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[]);
    let call = value!([{"id": "c1", "type": "function", "function": {"name": "get_lamp", "arguments": "{}"}}]);
    for (name, key, said) in [
        (
            "empty",
            "tool_calls",
            value!({"role": "assistant", "content": "", "tool_calls": call}),
        ),
        (
            "null",
            "tool_calls",
            value!({"role": "assistant", "content": null, "tool_calls": call}),
        ),
        (
            "thoughts",
            "reasoning_content",
            value!({"role": "assistant", "content": "on", "reasoning_content": "so"}),
        ),
        (
            "mood",
            "mood",
            value!({"role": "assistant", "content": "on", "mood": "good"}),
        ),
    ] {
        let messages = value!([{"role": "user", "content": "the lamp"}, said]);
        let data = data(folder.path(), name, messages);
        let error = refused(&evaluate(&model, &data));
        assert!(
            error.contains(&format!("`{key}`")) && error.contains("line 1"),
            "{error}"
        );
    }
    let weighted = |weight: Value| {
        let mut first = value!({"role": "assistant", "content": "it is off"});
        if !weight.is_null() {
            first["weight"] = weight;
        }
        let messages = value!([
            {"role": "user", "content": "the lamp"}, first,
            {"role": "user", "content": "no"}, {"role": "assistant", "content": "it is on"},
        ]);
        counted(&model, &data(folder.path(), "weight", messages))
    };
    let all = weighted(Value::Null);
    assert_eq!(weighted(value!(1)), all);
    assert!(weighted(value!(0)) < all);
}

#[test]
fn a_template_goes_out_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{#- odd \u{e9} -#}\r\n{%- for m in messages -%}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}\n\n";
    let model = model(folder.path(), &[("chat_template.jinja", template)]);
    let at = |name: &str| folder.path().join(name);
    let export = |model: &Path, format: &str, out: &Path| {
        shown(&[
            "export",
            "--model",
            text(model),
            "--format",
            format,
            "--out",
            text(out),
        ]);
    };
    shown(&["import", "--from", text(&model), "--out", text(&at("run"))]);
    for (name, source) in [("from-folder", &model), ("from-run", &at("run"))] {
        export(source, "hf", &at(name));
        let written = fs::read_to_string(at(name).join("chat_template.jinja")).unwrap();
        assert_eq!(written, template, "{name}");
    }
    let gguf = at("model.gguf");
    export(&model, "gguf", &gguf);
    export(&gguf, "hf", &at("from-gguf"));
    let written = fs::read_to_string(at("from-gguf").join("chat_template.jinja")).unwrap();
    assert_eq!(written, template);
}

#[test]
fn render_shows_what_the_template_writes_and_what_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), &[]);
    let file = folder.path().join("one.jsonl");
    fs::write(&file, value!({"messages": answer(" it is on")}).to_string()).unwrap();
    let render = ["render", "--model", text(&model), text(&file)];
    let whole = shown(&render);
    assert_eq!(
        whole,
        "<|im_start|>user\nthe lamp is on the table<|im_end|><|im_start|>assistant\n it is on<|im_end|>\n"
    );
    let prompt = shown(&[&render[..], &["--prompt"]].concat());
    let opened = format!("{}<|im_start|>assistant\n", whole.trim_end());
    assert_eq!(prompt, opened);
    let told: Value = serde_json::from_str(&shown(&[&render[..], &["--json"]].concat())).unwrap();
    let [ids, learned] = ["ids", "learned"].map(|key| told[key].as_array().unwrap().len());
    assert_eq!(ids, learned);
    fs::write(&file, "{\"messages\": [{\"role\": \"robot\"}]}").unwrap();
    let error = refused(&render);
    assert!(
        error.contains("line 1") && error.contains("robot"),
        "{error}"
    );
}
