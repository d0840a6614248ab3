//! Small models for calls of the program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::{Program, text};

pub(crate) fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures").join(name)
}

/// A copy of a fixture's model in a folder, to be changed.
pub(crate) fn copy(folder: &Path, name: &str) -> PathBuf {
    let model = folder.join(name);
    fs::create_dir_all(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture(name).join(file), model.join(file)).unwrap();
    }
    model
}

/// A copy with the first value of a tensor replaced.
pub(crate) fn broken(folder: &Path, name: &str, tensor: &str, value: f32) -> PathBuf {
    let model = copy(folder, name);
    replace_first(&model.join("model.safetensors"), tensor, value);
    model
}

/// A run with a fixture's model, saved with the first value of a tensor replaced.
pub(crate) fn broken_run(folder: &Path, name: &str, tensor: &str, value: f32) -> PathBuf {
    let model = copy(folder, name);
    with_tokenizer(&model);
    let run = folder.join("run");
    let import = ["import", "--from", text(&model), "--out", text(&run)];
    assert_eq!(Program::new(&import).run().code, Some(0));
    let checkpoint = run.join("checkpoints/step-0000000");
    let file = checkpoint.join("model.safetensors");
    let digest = |file: &Path| blake3::hash(&fs::read(file).unwrap()).to_hex();
    let before = digest(&file);
    replace_first(&file, tensor, value);
    let manifest = checkpoint.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains(before.as_str()), "{text}");
    let text = text.replace(before.as_str(), &digest(&file));
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    // a manifest of an older version, without its own digest
    fields.remove("digest").unwrap();
    fs::write(manifest, Value::Object(fields).to_string()).unwrap();
    run
}

fn replace_first(file: &Path, tensor: &str, value: f32) {
    let mut bytes = fs::read(file).unwrap();
    let (header, values) = bytes.split_at_mut(8);
    let length = u64::from_le_bytes((&*header).try_into().unwrap()) as usize;
    let (header, values) = values.split_at_mut(length);
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header[tensor]["dtype"], "F32", "{tensor}");
    let at = header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    values[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(file, bytes).unwrap();
}

/// Sets a value of a model's configuration.
pub(crate) fn configure(model: &Path, key: &str, value: impl Into<Value>) {
    let file = model.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config[key] = value.into();
    fs::write(file, config.to_string()).unwrap();
}

/// Adds a tokenizer to a model: one token for each of 91 characters and ChatML's tokens, 96 in total.
pub(crate) fn with_tokenizer(model: &Path) {
    let letters = ('!'..='~').filter(|it| !"\\`".contains(*it)).take(91);
    let mut vocab = serde_json::Map::new();
    let names = ["<|endoftext|>".into(), "Ċ".into(), "Ġ".into()].into_iter();
    for (id, name) in names.chain(letters.map(String::from)).enumerate() {
        vocab.insert(name, id.into());
    }
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let added = special.into_iter().enumerate().map(|(number, content)| {
        json!({
            "id": if number == 0 { 0 } else { 93 + number }, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true
        })
    });
    let byte_level = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": byte_level(false), "post_processor": null, "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": []
        }
    });
    let template = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
                    message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
                    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "chat_template": template
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(model.join("tokenizer_config.json"), config.to_string()).unwrap();
}
