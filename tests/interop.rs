//! Models of other programs from the command line: import, export, logits, token ids and fine-tuning.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

mod command;
mod fine_tuning;
mod foreign;
mod templates;
mod tokenizers;

use std::fs;
use std::path::{Path, PathBuf};

use command::{fixture, json, logits, refused, shown, text};
use safetensors::tensor::{SafeTensors, TensorView};

fn floats(file: &[u8], name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(file).unwrap();
    let data = file.tensor(name).unwrap().data().to_vec();
    data.as_chunks()
        .0
        .iter()
        .map(|&it| f32::from_le_bytes(it))
        .collect()
}

#[test]
fn logits_hold_what_other_programs_compute_under_their_names() {
    let name = "deepseek_v3_mtp2";
    let found = logits(&fixture(name), name);
    let expected = fs::read(fixture(name).join("fixture.safetensors")).unwrap();
    let tensors = [
        "logits",
        "mtp.1.logits",
        "mtp.2.logits",
        "hidden.layer.1",
        "router.1.topk_weight",
    ];
    for tensor in tensors {
        let pairs = floats(&found, tensor)
            .into_iter()
            .zip(floats(&expected, tensor));
        let worst = pairs
            .map(|(left, right)| (left - right).abs())
            .fold(0.0, f32::max);
        assert!(worst < 2e-4, "{tensor}: {worst}");
    }
    let [left, right] = [&found, &expected].map(|file| {
        let file = SafeTensors::deserialize(file).unwrap();
        let tensor = file.tensor("router.1.topk_idx").unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    });
    assert_eq!(left, right);
}

/// Files of a folder with their contents.
#[cfg(feature = "tch")]
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort_unstable();
    files
}

#[cfg(feature = "tch")]
#[test]
fn an_archive_becomes_the_folder_that_the_run_itself_becomes() {
    for name in ["deepseek_v3_yarn", "mixtral"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (run, archive) = (at("run"), at("archive"));
        shown(&[
            "import",
            "--from",
            text(&fixture(name)),
            "--out",
            text(&run),
        ]);
        let export = |from: &Path, format: &str, out: &Path| {
            let from = ["export", "--model", text(from), "--name", "x"];
            shown(&[&from[..], &["--format", format, "--out", text(out)]].concat());
        };
        export(&run, "hf", &at("direct"));
        export(&run, "ot", &archive);
        export(&archive, "hf", &at("folder"));
        fs::create_dir(at("file")).unwrap();
        let file = at("file").join("x.ot");
        export(&run, "ot", &file);
        shown(&["import", "--from", text(&file), "--out", text(&at("again"))]);
        export(&at("again"), "hf", &at("imported"));
        let direct = contents(&at("direct"));
        assert!(direct.len() > 2, "{name}");
        assert!(contents(&at("folder")) == direct, "{name}");
        assert!(contents(&at("imported")) == direct, "{name}");
        assert!(
            logits(&file, name) == logits(&fixture(name), name),
            "{name}"
        );
    }
}

#[cfg(not(feature = "tch"))]
#[test]
fn an_archive_without_libtorch_is_answered_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, out) = (folder.path().join("x.ot"), folder.path().join("out"));
    fs::write(&archive, "").unwrap();
    let (model, source) = (text(&archive), fixture("llama_tied"));
    for arguments in [
        ["import", "--from", model, "--out", text(&out)].to_vec(),
        [
            "export",
            "--model",
            model,
            "--format",
            "hf",
            "--out",
            text(&out),
        ]
        .to_vec(),
        [
            "export",
            "--model",
            text(&source),
            "--format",
            "ot",
            "--out",
            text(&out),
        ]
        .to_vec(),
    ] {
        let line = refused(&arguments);
        assert!(line.contains("rebuild with `--features tch`"), "{line}");
        assert!(!out.exists());
    }
}

/// A folder, imported as a run and exported again.
fn through_a_run(source: &Path, within: &Path) -> PathBuf {
    let [run, out] = ["run", "out"].map(|name| within.join(name));
    shown(&["import", "--from", text(source), "--out", text(&run)]);
    let export = ["export", "--model", text(&run), "--format", "hf"];
    shown(&[&export[..], &["--out", text(&out)]].concat());
    out
}

#[test]
fn a_folder_without_copies_for_mtp_modules_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let (source, name) = (fixture("deepseek_v3_mtp2"), "model.safetensors");
    fs::copy(
        source.join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let weights = fs::read(source.join(name)).unwrap();
    let weights = SafeTensors::deserialize(&weights).unwrap();
    // removes three of the file's four copies
    let is_left_out = |name: &str| {
        name.contains("shared_head.head") || name == "model.layers.2.embed_tokens.weight"
    };
    let tensors = weights.tensors().into_iter();
    let tensors: Vec<_> = tensors.filter(|(name, _)| !is_left_out(name)).collect();
    assert_eq!(tensors.len() + 3, weights.len());
    safetensors::serialize_to_file(tensors.clone(), None, &folder.path().join(name)).unwrap();

    let written = fs::read(through_a_run(folder.path(), folder.path()).join(name)).unwrap();
    let written = SafeTensors::deserialize(&written).unwrap();
    let mut names = written.names();
    names.sort_unstable();
    let mut expected: Vec<_> = tensors.iter().map(|(name, _)| &name[..]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, tensor) in &tensors {
        assert!(written.tensor(name).unwrap() == *tensor, "{name}");
    }
}

#[test]
fn special_tokens_and_their_roles_survive_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for entry in fs::read_dir(fixture("deepseek_v3_yarn")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, source.join(path.file_name().unwrap())).unwrap();
    }
    // two end-of-text tokens, which tokenizer files cannot state
    let mut config = json(source.join("config.json"));
    let tokens = json(source.join("tokenizer.json"))["added_tokens"].clone();
    config["eos_token_id"] = serde_json::json!([tokens[1]["id"], tokens[2]["id"]]);
    fs::write(source.join("config.json"), config.to_string()).unwrap();
    let out = through_a_run(&source, folder.path());
    let found = json(out.join("config.json"));
    assert_eq!(found["eos_token_id"], config["eos_token_id"]);
    assert_eq!(found["bos_token_id"], config["bos_token_id"]);
    let [found, expected] = [out, source].map(|folder| json(folder.join("tokenizer_config.json")));
    assert_eq!(found["bos_token"], expected["bos_token"]);
    let template = |config: &serde_json::Value| config["chat_template"].as_str().map(str::to_owned);
    assert!(template(&expected).is_some());
    assert_eq!(template(&found), template(&expected));
}

/// On texts without a domain, where an export without `--domain` must equal the model.
#[test]
fn a_trained_run_keeps_its_loss_through_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = at("run");
    // memorized text has a loss that is more sensitive to rounding
    let lines = fs::read_to_string("data/valid.jsonl").unwrap();
    for (name, first) in [("seen.jsonl", 30), ("unseen.jsonl", 0)] {
        let texts = lines.lines().skip(first).step_by(60).map(|line| {
            let document: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{}\n", serde_json::json!({"text": document["text"]}))
        });
        fs::write(at(name), texts.collect::<String>()).unwrap();
    }
    let (seen, unseen) = (at("seen.jsonl"), at("unseen.jsonl"));
    let train = ["train", "--params", "tiny", "--out", text(&run)];
    let data = ["--data", text(&seen), "--no-valid"];
    let size = ["--steps", "12", "--batch-size", "2", "--seq-len", "128"];
    shown(&[&train[..], &data[..], &size[..]].concat());
    let loss = |model: &Path| {
        let model = ["evaluate", "--model", text(model), "--seq-len", "128"];
        let data = ["--json", "--data", text(&unseen)];
        let report = shown(&[&model[..], &data[..]].concat());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        report["loss"].as_f64().unwrap()
    };
    let expected = loss(&run);
    let mut formats = vec![
        ("hf", "f32", "hf"),
        ("hf", "bf16", "half"),
        ("gguf", "f32", "f32.gguf"),
        ("gguf", "f16", "f16.gguf"),
        ("gguf", "bf16", "bf16.gguf"),
        ("gguf", "q8_0", "q8_0.gguf"),
    ];
    if cfg!(feature = "tch") {
        formats.push(("ot", "f32", "archive"));
    }
    for (format, dtype, name) in formats {
        let from = ["export", "--model", text(&run), "--dtype", dtype];
        shown(&[&from[..], &["--format", format, "--out", text(&at(name))]].concat());
        let apart = loss(&at(name)) / expected - 1.0;
        let allowed = if dtype == "q8_0" { 5e-3 } else { 1e-4 };
        assert!(apart.abs() < allowed, "{name}: {apart}");
    }
    shown(&[
        "import",
        "--from",
        text(&at("hf")),
        "--out",
        text(&at("again")),
    ]);
    assert!((loss(&at("again")) / expected - 1.0).abs() < 1e-6);
}

#[test]
fn greedy_ids_are_those_of_transformers() {
    for name in ["deepseek_v3_plain", "llama_tied", "mixtral"] {
        let numbers = fs::read(fixture(name).join("fixture.safetensors")).unwrap();
        let numbers = SafeTensors::deserialize(&numbers).unwrap();
        let ids = |tensor: &str| -> Vec<String> {
            let data = numbers.tensor(tensor).unwrap().data();
            let ids = data
                .as_chunks()
                .0
                .iter()
                .map(|&it| i64::from_le_bytes(it).to_string());
            ids.collect()
        };
        let (prompt, all) = (ids("gen.prompt_ids"), ids("gen.output_ids"));
        let expected = all[prompt.len()..].join(",");
        let count = (all.len() - prompt.len()).to_string();
        let model = fixture(name);
        let greedy = ["--temperature", "0", "--print-ids", "--max-tokens", &count];
        let ids = [
            "inference",
            "--model",
            text(&model),
            "--ids",
            &prompt.join(","),
        ];
        assert_eq!(
            shown(&[&ids[..], &greedy].concat()).trim(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn an_export_in_bf16_and_in_shards_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("half");
    let source = fixture("deepseek_v3_plain");
    let export = [
        "export",
        "--checkpoint",
        text(&source),
        "--format",
        "hf",
        "--dtype",
        "bf16",
    ];
    shown(
        &[
            &export[..],
            &["--out", text(&out), "--max-shard-size", "0.05MB"],
        ]
        .concat(),
    );
    assert!(out.join("model.safetensors.index.json").is_file());
    let [exact, rounded] =
        [&source, &out].map(|it| floats(&logits(it, "deepseek_v3_plain"), "logits"));
    let pairs = exact.iter().zip(&rounded);
    let worst = pairs
        .map(|(left, right)| (left - right).abs())
        .fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 2.0, "{worst}");
}

/// A copy of a fixture with one tensor changed.
fn altered(name: &str, tensor: &str, change: impl Fn(&mut Vec<usize>, &mut Vec<u8>), to: &Path) {
    let source = fixture(name);
    fs::create_dir(to).unwrap();
    fs::copy(source.join("config.json"), to.join("config.json")).unwrap();
    let file = fs::read(source.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let own = file.tensor(tensor).unwrap();
    let (mut shape, mut bytes) = (own.shape().to_vec(), own.data().to_vec());
    change(&mut shape, &mut bytes);
    let other = TensorView::new(own.dtype(), shape, &bytes).unwrap();
    let tensors = file.tensors().into_iter();
    let tensors = tensors.map(|(name, own)| {
        if name == tensor {
            (name, other.clone())
        } else {
            (name, own)
        }
    });
    safetensors::serialize_to_file(tensors, None, &to.join("model.safetensors")).unwrap();
}

/// Asserts that every command refuses a folder with the same final words, and that nothing is written.
fn refused_by_all(model: &Path, expected: &str) {
    let out = model.with_extension("out");
    let ids = fixture("deepseek_v3_plain").join("fixture.safetensors");
    let (model, to, ids) = (text(model), text(&out), text(&ids));
    for command in [
        &["import", "--from", model, "--out", to][..],
        &["export", "--model", model, "--format", "hf", "--out", to],
        &["export", "--model", model, "--format", "gguf", "--out", to],
        &["logits", "--model", model, "--ids-file", ids, "--out", to],
        &["inference", "--model", model, "--ids", "1,2", "--print-ids"],
    ] {
        let line = refused(command);
        assert!(line.trim_end().ends_with(expected), "{command:?}: {line}");
        assert!(!out.exists(), "{command:?}");
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let last_row_lost = |shape: &mut Vec<usize>, bytes: &mut Vec<u8>| {
        let row = bytes.len() / shape[0];
        shape[0] -= 1;
        bytes.truncate(row * shape[0]);
    };
    for (at, tensor, shapes) in [
        (
            "matrix",
            "model.layers.0.self_attn.o_proj.weight",
            "[47, 48], expected [48, 48]",
        ),
        (
            "expert",
            "model.layers.1.mlp.experts.3.up_proj.weight",
            "[19, 48], expected [20, 48]",
        ),
    ] {
        let model = folder.path().join(at);
        altered("deepseek_v3_plain", tensor, last_row_lost, &model);
        refused_by_all(&model, &format!(": tensor `{tensor}` has shape {shapes}"));
    }
}

#[test]
fn weights_that_are_no_numbers_are_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = "model.layers.1.mlp.experts.3.up_proj.weight";
    let nan = |_: &mut Vec<usize>, bytes: &mut Vec<u8>| {
        bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[80..84].copy_from_slice(&f32::INFINITY.to_le_bytes());
    };
    let model = folder.path().join("model");
    altered("deepseek_v3_plain", tensor, nan, &model);
    let what = "has 2 values that are NaN or infinite, expected none";
    refused_by_all(&model, &format!(": tensor `{tensor}` {what}"));
}

#[test]
fn what_cannot_be_converted_is_one_line_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused_import =
        |from: &Path| refused(&["import", "--from", text(from), "--out", text(&out)]);

    let absent = refused_import(&folder.path().join("absent"));
    assert!(
        absent.contains("does not exist, expected a run, a Hugging Face folder"),
        "{absent}"
    );

    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("llama_tied").join(file), broken.join(file)).unwrap();
    }
    let weights = fs::read(broken.join("model.safetensors")).unwrap();
    fs::write(
        broken.join("model.safetensors"),
        &weights[..weights.len() - 4],
    )
    .unwrap();
    let cut = refused_import(&broken);
    assert!(cut.contains("model.safetensors"), "{cut}");

    let unknown = folder.path().join("unknown");
    std::fs::create_dir(&unknown).unwrap();
    let config = std::fs::read_to_string(fixture("llama_tied").join("config.json")).unwrap();
    let config = config.replace("\"llama\"", "\"mamba\"");
    std::fs::write(unknown.join("config.json"), config).unwrap();
    std::fs::copy(
        fixture("llama_tied").join("model.safetensors"),
        unknown.join("model.safetensors"),
    )
    .unwrap();
    let other = refused_import(&unknown);
    assert!(other.contains("`model_type` is \"mamba\""), "{other}");

    let source = fixture("deepseek_v3_stress");
    let export = ["export", "--checkpoint", text(&source), "--format", "gguf"];
    let inexpressible = refused(&[&export[..], &["--out", text(&out)]].concat());
    assert!(inexpressible.contains("mscale"), "{inexpressible}");

    let ids = [
        "inference",
        "--model",
        text(&source),
        "--ids",
        "1,9999",
        "--print-ids",
    ];
    let unknown = refused(&ids);
    assert!(
        unknown.contains("token id 9999 is out of range"),
        "{unknown}"
    );
    assert!(!out.exists(), "nothing is written");
}
