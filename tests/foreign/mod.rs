//! Variants of files from other programs: different forms give the same results, and others are refused with the
//! cause.

use std::fs;
use std::path::{Path, PathBuf};

use darkhorse_genesis::interop::gguf::{GgmlType, GgufFile, GgufTensor, GgufWriter};
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{fixture, logits, logits_with, refused, shown, text};

/// Tensors of a file, by name.
type Views<'a> = Vec<(String, TensorView<'a>)>;

fn model(folder: &TempDir) -> PathBuf {
    folder.path().join("model")
}

/// A copy of a fixture with changed configuration and tensors.
fn changed(
    name: &str,
    configuration: impl FnOnce(&mut Value),
    tensors: impl FnOnce(&mut Views<'_>),
) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let target = model(&folder);
    fs::create_dir(&target).unwrap();
    let read = |file: &str| fs::read(fixture(name).join(file)).unwrap();
    let mut config = serde_json::from_slice(&read("config.json")).unwrap();
    configuration(&mut config);
    fs::write(target.join("config.json"), config.to_string()).unwrap();
    let bytes = read("model.safetensors");
    let mut views: Views<'_> = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors(&mut views);
    safetensors::serialize_to_file(views, None, &target.join("model.safetensors")).unwrap();
    folder
}

fn configured(name: &str, key: &str, value: Value) -> TempDir {
    changed(name, |config| config[key] = value, |_| {})
}

fn renamed(name: &str, rename: impl Fn(&str) -> String) -> TempDir {
    let all = |tensors: &mut Views<'_>| {
        for (name, _) in tensors {
            *name = rename(name);
        }
    };
    changed(name, |_| {}, all)
}

fn refusal(model: &Path, more: &[&str]) -> String {
    let ids = fixture("llama_tied").join("fixture.safetensors");
    let out = model.with_file_name("no.safetensors");
    let (model, ids, out) = (text(model), text(&ids), text(&out));
    let first = ["logits", "--model", model, "--ids-file", ids, "--out", out];
    refused(&[&first[..], more].concat())
}

#[test]
fn forms_that_say_the_same_compute_the_same() {
    for name in ["llama_tied", "mixtral", "qwen3_next"] {
        let expected = logits(&fixture(name), name);
        let prefixes = [
            "_orig_mod.",
            "module.",
            "base_model.model.",
            "language_model.",
            "module._orig_mod.",
        ];
        for prefix in prefixes {
            let folder = renamed(name, |tensor| format!("{prefix}{tensor}"));
            assert!(logits(&model(&folder), name) == expected, "{name} {prefix}");
        }
        let without = renamed(name, |tensor| tensor.replacen("model.", "", 1));
        assert!(logits(&model(&without), name) == expected, "{name}");
    }

    let name = "llama_tied";
    let expected = logits(&fixture(name), name);
    let head = renamed(name, |tensor| {
        tensor.replace("model.embed_tokens", "lm_head")
    });
    assert!(logits(&model(&head), name) == expected);
    let off = json!({"quant_method": "bitsandbytes", "load_in_8bit": false, "load_in_4bit": false});
    for (key, value) in [
        ("pad_token_id", json!(-1)),
        ("dtype", json!("auto")),
        ("dtype", json!("torch.float32")),
        ("quantization_config", off),
    ] {
        let folder = configured(name, key, value.clone());
        assert!(logits(&model(&folder), name) == expected, "{key} {value}");
    }
    // the factor that YaRN computes, stated explicitly
    let yarn = |stated: Value| {
        let mut rope =
            json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
        rope["attention_factor"] = stated;
        let rope = |config: &mut Value| {
            config["rope_parameters"] = Value::Null;
            config["rope_scaling"] = rope;
        };
        let folder = changed(name, rope, |_| {});
        logits(&model(&folder), name)
    };
    let own = yarn(Value::Null);
    assert!(own == yarn(json!(0.1 * 4f64.ln() + 1.0)));
    assert!(own != yarn(json!(1.0)));
}

#[test]
fn every_family_opens_in_shards_with_and_without_their_index() {
    for name in ["llama_tied", "mixtral", "deepseek_v3_plain", "qwen3_next"] {
        let folder = changed(name, |_| {}, |_| {});
        let model = model(&folder);
        let whole = model.join("model.safetensors");
        let bytes = fs::read(&whole).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let mut map = serde_json::Map::new();
        let halves = tensors.chunks(tensors.len().div_ceil(2));
        for (number, half) in halves.enumerate() {
            let file = format!("model-{:05}-of-00002.safetensors", number + 1);
            let names = half.iter().map(|(tensor, _)| tensor.clone());
            map.extend(names.map(|tensor| (tensor, json!(file))));
            safetensors::serialize_to_file(half.to_vec(), None, &model.join(file)).unwrap();
        }
        fs::remove_file(whole).unwrap();
        let expected = logits(&fixture(name), name);
        assert!(logits(&model, name) == expected, "{name}");
        let index = json!({"weight_map": map}).to_string();
        fs::write(model.join("model.safetensors.index.json"), index).unwrap();
        assert!(logits(&model, name) == expected, "{name}");
        fs::remove_file(model.join("model-00002-of-00002.safetensors")).unwrap();
        let error = refusal(&model, &[]);
        assert!(error.contains("no shard `model-00002-of-00002"), "{error}");
    }
}

#[test]
fn a_head_that_differs_from_the_embedding_is_kept() {
    let name = "llama_tied";
    let add = |tensors: &mut Views<'_>| {
        // the embedding table with other rows
        let up = tensors
            .iter()
            .find(|(it, _)| it == "model.embed_tokens.weight");
        let up = up.unwrap().1.clone();
        let rows = up.shape()[0];
        let other = up.data().chunks(up.data().len() / rows).rev();
        let other: &'static [u8] = other.collect::<Vec<_>>().concat().leak();
        let view = TensorView::new(up.dtype(), up.shape().to_vec(), other).unwrap();
        tensors.push(("lm_head.weight".into(), view));
    };
    let tied = |tied: bool| move |config: &mut Value| config["tie_word_embeddings"] = json!(tied);
    let own = changed(name, tied(false), add);
    let stated = changed(name, tied(true), add);
    let expected = logits(&model(&own), name);
    assert!(expected != logits(&fixture(name), name));
    assert!(logits(&model(&stated), name) == expected);
    let run = stated.path().join("run");
    let (from, out) = (model(&stated), stated.path().join("hf"));
    shown(&["import", "--from", text(&from), "--out", text(&run)]);
    let export = ["export", "--model", text(&run), "--format", "hf", "--out"];
    shown(&[&export[..], &[text(&out)]].concat());
    assert!(logits(&out, name) == expected);
}

/// One that no family has, and two that a Llama has not.
#[test]
fn a_tensor_without_a_place_is_refused_by_its_name_in_the_file() {
    let name = "llama_tied";
    let source = fixture(name);
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    let (written, more, run) = (at("model.gguf"), at("more.gguf"), at("run"));
    let export = ["export", "--model", text(&source), "--format", "gguf"];
    shown(&[&export[..], &["--out", text(&written)]].concat());
    let file = GgufFile::open(&written).unwrap();
    let held: Vec<GgufTensor> = file.tensors().to_vec();
    for extra in [
        "attn_sinks.weight",
        "attn_q_norm.weight",
        "ffn_gate_inp.weight",
    ] {
        let extra = format!("blk.1.{extra}");
        let mut tensors = held.clone();
        tensors.push(GgufTensor {
            name: extra.clone(),
            ggml_type: GgmlType::F32,
            shape: vec![4],
        });
        let mut writer = GgufWriter::create(&more, file.metadata(), &tensors).unwrap();
        for tensor in &held {
            let (_, bytes) = file.tensor(&tensor.name).unwrap();
            writer.write(bytes).unwrap();
        }
        writer.write(&[0; 16]).unwrap();
        writer.finish().unwrap();
        let expected = format!("more.gguf: tensor `{extra}` has no place in the model");
        let import = ["import", "--from", text(&more), "--out", text(&run)];
        for error in [refusal(&more, &[]), refused(&import)] {
            assert!(error.contains(&expected), "{error}");
        }
        assert!(!run.exists());
    }
}

#[test]
fn a_model_that_was_imported_and_exported_computes_the_same_to_the_bit() {
    for name in [
        "deepseek_v3_yarn",
        "glm4_moe",
        "llama_llama3rope",
        "mixtral",
        "olmoe",
        "qwen2",
        "qwen3_moe",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let [imported, hf, gguf] = ["run", "hf", "model.gguf"].map(|it| folder.path().join(it));
        let source = fixture(name);
        shown(&["import", "--from", text(&source), "--out", text(&imported)]);
        let export = |from: &Path, format: &str, out: &Path| {
            let from = ["export", "--checkpoint", text(from)];
            shown(&[&from[..], &["--format", format, "--out", text(out)]].concat());
        };
        export(&imported, "hf", &hf);
        export(&hf, "gguf", &gguf);
        let expected = logits(&source, name);
        for model in [&imported, &hf, &gguf] {
            assert!(
                logits(model, name) == expected,
                "{name}: {}",
                model.display()
            );
        }
    }
}

/// Asserts that all logits equal a fixture's within F32 noise.
fn assert_close(found: &[u8], of: &str) {
    let read = |bytes: &[u8]| -> Vec<f32> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let data = file.tensor("logits").unwrap().data().to_vec();
        let values = data.as_chunks().0.iter();
        values.map(|&it| f32::from_le_bytes(it)).collect()
    };
    let expected = read(&fs::read(fixture(of).join("fixture.safetensors")).unwrap());
    let found = read(found);
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(&expected);
    let worst = pairs.map(|(left, right)| (left - right).abs());
    let worst = worst.fold(0.0, f32::max);
    assert!(worst < 2e-4, "{of}: {worst}");
}

#[test]
fn an_adapter_computes_what_peft_computes_with_it() {
    for (base, name) in [
        ("llama_tied", "adapter_llama"),
        ("mixtral", "adapter_mixtral"),
    ] {
        let adapter = fixture(name);
        let asked = ["--adapter", text(&adapter)];
        let applied = logits_with(&fixture(base), name, &asked);
        assert_close(&applied, name);
        // with the adapter in the model's own folder
        let beside = changed(base, |_| {}, |_| {});
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(adapter.join(file), model(&beside).join(file)).unwrap();
        }
        assert!(logits(&model(&beside), name) == applied);
        // imported to a run, and applied to a GGUF file
        let at = |file: &str| beside.path().join(file);
        let (run, gguf, merged) = (at("run"), at("base.gguf"), at("merged"));
        let from = fixture(base);
        let import = ["import", "--from", text(&from), "--out", text(&run)];
        shown(&[&import[..], &asked].concat());
        assert!(logits(&run, name) == applied);
        let export = ["export", "--model", text(&from)];
        shown(&[&export[..], &["--format", "gguf", "--out", text(&gguf)]].concat());
        assert_close(&logits_with(&gguf, name, &asked), name);
        let hf = ["--format", "hf", "--out", text(&merged)];
        shown(&[&export[..], &asked, &hf].concat());
        assert!(logits(&merged, name) == applied);

        let error = refusal(&run, &asked);
        assert!(
            error.contains("is a run, and `--adapter` is for"),
            "{error}"
        );
    }
    let other = fixture("adapter_mixtral");
    let error = refusal(&fixture("llama_tied"), &["--adapter", text(&other)]);
    assert!(error.contains("adapter_mixtral"), "{error}");
    let error = refusal(&fixture("adapter_llama"), &[]);
    assert!(error.contains("an adapter alone"), "{error}");
    let file = fixture("adapter_llama").join("adapter_model.safetensors");
    let error = refusal(&file, &[]);
    assert!(
        error.contains("of an adapter that was not merged"),
        "{error}"
    );
}

#[test]
fn a_tokenizer_matters_to_who_needs_it() {
    let name = "llama_tied";
    let folder = changed(name, |_| {}, |_| {});
    let model = model(&folder);
    fs::write(
        model.join("tokenizer.json"),
        r#"{"model": {"type": "Cunning"}}"#,
    )
    .unwrap();
    assert!(logits(&model, name) == logits(&fixture(name), name));
    let at = ["inference", "--model", text(&model), "--max-tokens", "2"];
    let ids = ["--ids", "1,2,3", "--temperature", "0", "--print-ids"];
    assert!(shown(&[&at[..], &ids].concat()).contains(','));
    let error = refused(&[&at[..], &["--prompt", "x"]].concat());
    assert!(error.contains("tokenizer.json"), "{error}");
    let run = folder.path().join("run");
    let quantize = ["quantize", "--model", text(&model), "--bits", "8", "--out"];
    shown(&[&quantize[..], &[text(&run)]].concat());
    assert!(!run.join("tokenizer.json").exists());
    let other = folder.path().join("other");
    let import = ["import", "--from", text(&model), "--out", text(&other)];
    let error = refused(&import);
    assert!(
        error.contains("tokenizer.json") && !other.exists(),
        "{error}"
    );
}

#[test]
fn a_token_that_was_never_embedded_is_refused_where_it_occurs() {
    let name = "llama_tied";
    let folder = changed(name, |_| {}, |_| {});
    let model = model(&folder);
    let letters = (' '..='~').map(|it| if it == ' ' { 'Ġ' } else { it });
    let tokens = letters
        .map(String::from)
        .chain((95..128).map(|it| format!("t{it}")));
    let vocab: serde_json::Map<_, _> = tokens.zip(0..).map(|(it, id)| (it, json!(id))).collect();
    let added = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [added(128, "<one>"), added(129, "<two>")],
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}});
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let at = ["inference", "--model", text(&model), "--max-tokens", "2"];
    shown(&[&at[..], &["--prompt", "abc"]].concat());
    let error = refused(&[&at[..], &["--prompt", "ab<two>"]].concat());
    assert!(error.contains("token id 129 is out of range"), "{error}");
    let data = folder.path().join("data.jsonl");
    let evaluate = ["evaluate", "--model", text(&model), "--data", text(&data)];
    fs::write(&data, "{\"text\": \"abc def\"}\n").unwrap();
    shown(&evaluate);
    fs::write(&data, "{\"text\": \"abc\"}\n{\"text\": \"a<one>\"}\n").unwrap();
    let error = refused(&evaluate);
    assert!(
        error.contains("data.jsonl:2: token \"<one>\" has the id 128"),
        "{error}"
    );
}
