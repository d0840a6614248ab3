//! Options of the whole program, and values out of range.

use std::fs;

use serde_json::{Value, json};

use crate::chat::talking;
use crate::home::Home;
use crate::model::{copy, fixture};
use crate::program::{Program, text};

#[test]
fn numbers_out_of_range_are_told_with_their_range() {
    for (option, value, expected) in [
        (
            "--temperature",
            "-1",
            "`temperature` is -1, expected 0, or 0.000001 or more",
        ),
        (
            "--temperature",
            "nan",
            "`temperature` is NaN, expected 0, or 0.000001 or more",
        ),
        (
            "--temperature",
            "inf",
            "`temperature` is inf, expected 0, or 0.000001 or more",
        ),
        (
            "--temperature",
            "0.0000001",
            "`temperature` is 0.0000001, expected 0, or 0.000001 or more",
        ),
        (
            "--top-p",
            "-0.5",
            "`top_p` is -0.5, expected above 0, at most 1",
        ),
        ("--min-p", "1.5", "`min_p` is 1.5, expected 0 to 1"),
        (
            "--repetition-penalty",
            "0",
            "`repetition_penalty` is 0, expected 0.000001 to 1000000",
        ),
        (
            "--top-k",
            "-1",
            "invalid value '-1' for '--top-k <K>': expected a whole number, 0 or more; see `--help`",
        ),
        (
            "--max-tokens",
            "many",
            "invalid value 'many' for '--max-tokens <N>': expected a whole number, 0 or more; see `--help`",
        ),
        (
            "--temperature",
            "hot",
            "invalid value 'hot' for '--temperature <T>': expected a number; see `--help`",
        ),
        (
            "--seed",
            "99999999999999999999",
            "invalid value '99999999999999999999' for '--seed <N>': expected a smaller number; see `--help`",
        ),
    ] {
        for command in [&["inference", "--prompt", "x"][..], &["chat"]] {
            let ended = Program::new(&[command, &[option, value]].concat()).run();
            assert_eq!(ended.refusal(), expected);
        }
    }
}

#[test]
fn a_prompt_comes_from_the_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let model = talking(folder.path());
    let arguments = [
        "inference",
        "--model",
        text(&model),
        "--max-tokens",
        "3",
        "--temperature",
        "0",
    ];
    let read = |prompt: &str, input: &[u8]| {
        Program::new(&[&arguments[..], &["--prompt", prompt]].concat())
            .reading(input)
            .run()
    };
    let given = read("two\nlines", b"");
    assert!(given.output.starts_with("two\nlines"), "{given:?}");
    assert_eq!(read("-", b"two\nlines\n").output, given.output);
    assert_eq!(read("-", b"two\nlines\r\n").output, given.output);
    assert_ne!(read("-", b"two\nlines\n\n").output, given.output);
    let not_text = read("-", b"ab\xff\n");
    assert!(
        not_text.refusal().contains("no UTF-8 at byte 2"),
        "{not_text:?}"
    );
}

#[test]
fn test_time_training_is_for_models_that_have_it_and_reads_everything_anew() {
    let genesis = fixture("genesis152m").join("tiny_genesis.safetensors");
    let inference = |more: &[&str]| {
        let common = [
            "inference",
            "--model",
            text(&genesis),
            "--ids",
            "5,6,7",
            "--print-ids",
        ];
        let greedy = ["--temperature", "0", "--max-tokens", "6"];
        Program::new(&[&common[..], &greedy, more].concat()).run()
    };
    let (plain, off, on) = (
        inference(&[]),
        inference(&["--ttt", "off"]),
        inference(&["--ttt", "on"]),
    );
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert_eq!(off.output, plain.output);
    assert_eq!(on.code, Some(0), "{on:?}");
    assert_eq!(on.output.trim_end().split(',').count(), 6, "{on:?}");
    let cached = inference(&["--ttt", "on", "--cache-dtype", "q8"]);
    assert!(
        cached.refusal().ends_with("leave `--cache-dtype` out"),
        "{cached:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let model = copy(folder.path(), "llama_tied");
    let without = [
        "inference",
        "--model",
        text(&model),
        "--ids",
        "5",
        "--ttt",
        "on",
    ];
    let without = Program::new(&without).run();
    assert!(
        without
            .refusal()
            .starts_with("the model has no test-time training"),
        "{without:?}"
    );
}

#[test]
fn a_genesis_file_takes_its_tokenizer_for_a_prompt() {
    let genesis = fixture("genesis152m").join("tiny_genesis.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = talking(folder.path()).join("tokenizer.json");
    let prompt = [
        "inference",
        "--model",
        text(&genesis),
        "--prompt",
        "hi",
        "--max-tokens",
        "2",
    ];
    let without = Program::new(&prompt).run();
    assert!(without.refusal().contains("--tokenizer"), "{without:?}");
    let with = Program::new(&[&prompt[..], &["--tokenizer", text(&tokenizer)]].concat()).run();
    assert_eq!(with.code, Some(0), "{with:?}");
    assert!(with.output.starts_with("hi"), "{with:?}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Program::new(&["completions", shell]).run();
        assert_eq!((script.code, script.errors.as_str()), (Some(0), ""));
        assert!(script.output.contains("inference"), "{shell}");
    }
    assert!(
        Program::new(&["completions", "tcsh"])
            .run()
            .refusal()
            .contains("bash")
    );
    let page = Program::new(&["man"]).run();
    assert_eq!(page.code, Some(0));
    assert!(
        page.output.contains(".TH darkhorse-genesis 1"),
        "{}",
        page.output
    );

    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    let written = Program::new(&["man", text(&pages)]).run();
    assert_eq!((written.code, written.errors.as_str()), (Some(0), ""));
    for command in ["", "-train", "-chat", "-completions"] {
        assert!(
            pages
                .join(format!("darkhorse-genesis{command}.1"))
                .is_file(),
            "{command}"
        );
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Program::new(&["man", text(&file)]).run();
    assert!(refused.refusal().contains(text(&file)), "{refused:?}");
}

#[test]
fn logits_that_cannot_be_written_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture("llama_tied");
    let ids = model.join("fixture.safetensors");
    let out = folder.path().join("folder");
    std::fs::create_dir(&out).unwrap();
    let arguments = [
        "logits",
        "--model",
        text(&model),
        "--ids-file",
        text(&ids),
        "--out",
        text(&out),
    ];
    let refused = Program::new(&arguments).run();
    assert!(
        refused.refusal().contains("is a folder, expected"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_filter_of_messages_that_is_none_is_refused() {
    let plan = || Program::new(&["plan", "--params", "tiny"]);
    let wrong = plan().with("RUST_LOG", "darkhorse_genesis=loud").run();
    assert!(
        wrong
            .refusal()
            .starts_with("`RUST_LOG` is `darkhorse_genesis=loud`, expected "),
        "{wrong:?}"
    );
    let debug = plan().with("RUST_LOG", "debug").run();
    assert_eq!(debug.code, Some(0), "{debug:?}");
}

#[test]
fn a_vocabulary_with_gaps_puts_no_complaint_among_the_ids() {
    let folder = tempfile::tempdir().unwrap();
    let file = fixture("deepseek_v3_yarn").join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let last = vocab.values().filter_map(|id| id.as_u64()).max().unwrap();
    let of_last = vocab.values_mut().find(|id| **id == last).unwrap();
    *of_last = (last + 3).into();
    let file = folder.path().join("tokenizer.json");
    std::fs::write(&file, json.to_string()).unwrap();
    let arguments = [
        "tokenize",
        "--tokenizer",
        text(&file),
        "--text",
        "one two",
        "--bare",
    ];
    let ended = Program::new(&arguments).run();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    let is_list = |c: char| c.is_ascii_digit() || c == ',';
    assert!(ended.output.trim_end().chars().all(is_list), "{ended:?}");
}

#[test]
fn what_the_class_of_a_tokenizer_puts_around_texts_goes_with_every_export() {
    let home = Home::new();
    fs::create_dir(home.path("m")).unwrap();
    let fixture = fixture("llama_llama3rope");
    for name in ["config.json", "model.safetensors", "chat_template.jinja"] {
        fs::copy(fixture.join(name), home.path("m").join(name)).unwrap();
    }
    let read = |name| serde_json::from_slice::<Value>(&fs::read(fixture.join(name)).unwrap());
    let mut tokenizer = read("tokenizer.json").unwrap();
    let begin = "<|begin_of_text|>";
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {begin: {"id": begin, "ids": [0], "tokens": [begin]}},
    });
    home.write("m/tokenizer.json", tokenizer.to_string());
    let mut config = read("tokenizer_config.json").unwrap();
    // the first uses the file's post-processor; the second builds its own, which adds no tokens
    for (class, begins) in [
        ("PreTrainedTokenizerFast", true),
        ("GPTNeoXTokenizer", false),
    ] {
        config["tokenizer_class"] = class.into();
        home.write("m/tokenizer_config.json", config.to_string());
        home.done(&format!("export --model m --format hf --out {class}"));
        home.done(&format!(
            "export --model m --format gguf --out {class}.gguf"
        ));
        let ids = |model: &str| {
            home.done(&format!("tokenize --model {model} --text lamps"))
                .0
        };
        let own = ids("m");
        assert_eq!(own.starts_with("0,"), begins, "{class}: {own}");
        assert_eq!(ids(class), own);
        assert_eq!(ids(&format!("{class}.gguf")), own);
    }
}
