//! Token ids compared with published tokenizers, sentencepiece and llama.cpp.

use std::fs::File;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokenizers::Tokenizer;

use super::{contents_of, rewrite};
use crate::interop::gguf::{GgufFile, GgufValue, tokenizer_json};

const FIXTURE: &str = "tests/fixtures/gguf_tokenizers";

/// The tokenizer of a fixture's file with some keys changed.
fn tokenizer(file: &str, changes: &[(&str, Option<GgufValue>)]) -> Tokenizer {
    let json = tokenizer_files(file, changes).unwrap();
    Tokenizer::from_bytes(json.to_string()).unwrap()
}

fn tokenizer_files(file: &str, changes: &[(&str, Option<GgufValue>)]) -> Result<Value, String> {
    let (mut keys, _) = contents_of(&Path::new(FIXTURE).join(file));
    for (key, value) in changes {
        let key = format!("tokenizer.ggml.{key}");
        keys.retain(|(other, _)| *other != key);
        keys.extend(value.clone().map(|value| (key, value)));
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    rewrite(&path, &keys, &[]);
    let files = tokenizer_json::tokenizer_files(&GgufFile::open(&path).unwrap());
    let files = files.map_err(|error| error.to_string())?;
    Ok(files.unwrap().tokenizer)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, false).unwrap().get_ids().to_vec()
}

#[test]
fn texts_have_the_ids_of_the_published_tokenizers() {
    let expected = File::open(Path::new(FIXTURE).join("expected.json")).unwrap();
    let expected: Value = serde_json::from_reader(expected).unwrap();
    let lines: Vec<&str> = expected["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let mut names = 0;
    for (name, expected) in expected["ids"].as_object().unwrap() {
        let tokenizer = match name.as_str() {
            "llama" => tokenizer("sentence_piece.gguf", &[]),
            name => tokenizer("byte_level.gguf", &[("pre", Some(name.into()))]),
        };
        for (line, expected) in lines.iter().zip(expected.as_array().unwrap()) {
            let ids = ids(&tokenizer, line);
            assert_eq!(Value::from(ids.clone()), *expected, "{name} {line:?}");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), *line, "{name}");
        }
        names += 1;
    }
    assert_eq!(names, 8);
}

#[test]
fn without_a_name_texts_are_split_as_llama_cpp_does_by_default() {
    let named = |pre: Option<GgufValue>| tokenizer("byte_level.gguf", &[("pre", pre)]);
    let text = "x12345<=>~y";
    let default = ids(&named(Some("default".into())), text);
    assert_eq!(ids(&named(None), text), default);
    assert_ne!(ids(&named(Some("gpt-2".into())), text), default);
}

#[test]
fn a_sentence_piece_text_begins_with_a_space_unless_the_file_says_otherwise() {
    let with = |prefix| {
        let key = ("add_space_prefix", Some(GgufValue::Bool(prefix)));
        tokenizer("sentence_piece.gguf", &[key])
    };
    let plain = tokenizer("sentence_piece.gguf", &[]);
    assert_eq!(ids(&with(true), "the"), ids(&plain, "the"));
    assert_eq!(ids(&with(false), " the"), ids(&plain, "the"));
    assert_ne!(ids(&with(false), "the"), ids(&plain, "the"));
    let back = |tokenizer: &Tokenizer| tokenizer.decode(&ids(tokenizer, "the fox"), true).unwrap();
    assert_eq!(
        (back(&with(false)), back(&plain)),
        ("the fox".into(), "the fox".into())
    );
}

#[test]
fn a_text_of_sentence_piece_begins_with_a_token_unless_the_file_says_otherwise() {
    let first = |changes: &[(&str, Option<GgufValue>)]| {
        let tokenizer = tokenizer("sentence_piece.gguf", changes);
        tokenizer.encode("the", true).unwrap().get_ids()[0]
    };
    assert_eq!(first(&[]), 1);
    assert_ne!(first(&[("add_bos_token", Some(GgufValue::Bool(false)))]), 1);
}

#[test]
fn vocabularies_that_are_not_known_are_refused_by_name() {
    for (key, value, expected) in [
        (
            "model",
            "bert",
            "`tokenizer.ggml.model` is \"bert\", expected gpt2 or llama",
        ),
        (
            "pre",
            "viking",
            "`tokenizer.ggml.pre` is \"viking\", expected the byte-level splits of gpt-2",
        ),
    ] {
        let error = tokenizer_files("byte_level.gguf", &[(key, Some(value.into()))]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = tokenizer_files("sentence_piece.gguf", &[("scores", None)]).unwrap_err();
    assert!(
        error.contains("`tokenizer.ggml.scores` is missing, expected an f32 for each token"),
        "{error}"
    );
}
