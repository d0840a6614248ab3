//! Lines of JSON, or an array of objects: what is read as JSON is read alike by serde_json, where it takes it too.
#![no_main]

use darkhorse_genesis::data::{Source, SourceOptions};
use darkhorse_genesis_fuzz::with_file;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    with_file("a.jsonl", bytes, |path| {
        let options = SourceOptions {
            skip_bad_lines: true,
            ..SourceOptions::default()
        };
        let source = Source::open(&[path], options).expect("the file is there");
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        for document in source.documents().flatten() {
            let line = lines.get(document.origin.line as usize - 1);
            let value = line.and_then(|line| serde_json::from_slice::<Value>(line).ok());
            if let Some(Value::String(text)) = value.as_ref().and_then(|it| it.get("text"))
                && document.conversation.is_none()
            {
                assert_eq!(*text, document.text);
            }
        }
    });
});
