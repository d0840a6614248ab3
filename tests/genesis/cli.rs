//! The commands on a checkpoint of the package.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::fixture::{folder, read};

fn run(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).expect("it is read");
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn checkpoint() -> String {
    folder()
        .join("tiny_genesis.safetensors")
        .display()
        .to_string()
}

/// A byte-level BPE without merges and with 94 ids; the model's last two ids remain for ChatML.
fn write_tokenizer(folder: &Path) -> String {
    let letters = ('!'..='~').filter(|it| !"\\`".contains(*it)).take(91);
    let mut vocab = serde_json::Map::new();
    let names = ["<|endoftext|>".into(), "Ċ".into(), "Ġ".into()].into_iter();
    for (id, name) in names.chain(letters.map(String::from)).enumerate() {
        vocab.insert(name, id.into());
    }
    assert_eq!(vocab.len(), 94);
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{
            "id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": []
        }
    });
    let path = folder.join("neox.json");
    std::fs::write(&path, json.to_string()).expect("it can be written");
    path.display().to_string()
}

#[test]
fn logits_with_test_time_training_and_without() {
    let fixture = read();
    let scratch = tempfile::tempdir().expect("there is room");
    let (values, shape) = fixture.integers("input_ids");
    let bytes: Vec<u8> = values.into_iter().flat_map(i64::to_le_bytes).collect();
    let view = TensorView::new(Dtype::I64, shape, &bytes).expect("it fits");
    let ids = scratch.path().join("ids.safetensors");
    let file = safetensors::serialize([("input_ids", view)], None).expect("it is a file");
    std::fs::write(&ids, file).expect("it can be written");
    for (extra, name) in [
        (&["--ttt", "on"][..], "eval_ttt/logits"),
        (&["--ttt", "off"][..], "eval_nottt/logits"),
        (&[][..], "eval_nottt/logits"),
    ] {
        let out = scratch.path().join("logits.safetensors");
        let (ids, out) = (ids.display().to_string(), out.display().to_string());
        let model = checkpoint();
        let args = [
            "logits",
            "--model",
            &model,
            "--ids-file",
            &ids,
            "--out",
            &out,
        ];
        let args = [&args, extra].concat();
        let output = run(&args, "");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let bytes = std::fs::read(&out).expect("it was written");
        let written = SafeTensors::deserialize(&bytes).expect("it is whole");
        let logits = written.tensor("logits").expect("it is there");
        let logits = logits.data().as_chunks().0.iter();
        let logits: Vec<f32> = logits.map(|&it| f32::from_le_bytes(it)).collect();
        fixture.compare(name, &logits);
    }
}

#[test]
fn a_conversation_needs_a_tokenizer_and_the_message_says_where_one_is() {
    let output = run(&["chat", "--model", &checkpoint()], "hi\n");
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("--tokenizer"), "{message}");
    assert!(
        message.contains("huggingface.co/EleutherAI/pythia-70m"),
        "{message}"
    );
}

#[test]
fn a_conversation_goes_on_and_begins_anew() {
    let scratch = tempfile::tempdir().expect("there is room");
    let tokenizer = write_tokenizer(scratch.path());
    let model = checkpoint();
    let args = [
        "chat",
        "--model",
        &model,
        "--tokenizer",
        &tokenizer,
        "--system",
        "a",
    ];
    let greedy = ["--temperature", "0", "--max-tokens", "6", "--stats"];
    let said = "hi there\nmore\n/help\n/clear\nhi there\n/exit\n";
    let output = run(&[&args[..], &greedy].concat(), said);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = answers.split('\n').collect();
    let prefills: Vec<&str> = message.split("prefill ").skip(1).collect();
    assert_eq!(prefills.len(), 3, "{message}");
    // the answer is letters, so nothing is trimmed off the cache, whose recurrent state cannot go back far
    // `<|im_start|>system\na\n<|im_end|>\n`, `<|im_start|>user\nhi there\n<|im_end|>\n`, `<|im_start|>assistant\n`
    let first = 1 + 7 + 2 + 1 + 1 + 1 + 5 + 9 + 1 + 1 + 1 + 10;
    assert!(
        prefills[0].starts_with(&format!("{first} tokens")),
        "{message}"
    );
    // reads only the end of the answer's turn, `<|im_start|>user\nmore\n<|im_end|>\n` and `<|im_start|>assistant\n`
    let next = 3 + 1 + 5 + 5 + 1 + 1 + 1 + 10;
    assert!(
        prefills[1].starts_with(&format!("{next} tokens")),
        "{message}"
    );
    assert!(
        prefills[2].starts_with(&format!("{first} tokens")),
        "{message}"
    );
    assert_eq!(lines.first(), lines.get(lines.len() - 2), "{answers:?}");
    // a tokenizer beside the checkpoint is taken, with the tokens of conversations
    let beside = scratch.path().join("model.safetensors");
    std::fs::copy(&model, &beside).expect("there is room");
    std::fs::copy(&tokenizer, scratch.path().join("tokenizer.json")).expect("there is room");
    let beside = beside.display().to_string();
    let found = ["chat", "--model", &beside, "--system", "a"];
    let found = run(&[&found[..], &greedy].concat(), said);
    assert_eq!(found.stdout, output.stdout);
    // without options, sampling uses the package's defaults
    let sampled = run(&args, "hi\n");
    assert!(sampled.status.success());
}
