//! The journal of a run: read, drawn, and gone on with. What is no record is kept aside, and then nothing is.
#![no_main]

use std::fs;

use darkhorse_genesis::telemetry::report::{About, render};
use darkhorse_genesis::telemetry::{Journal, read_journal};
use darkhorse_genesis_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file("metrics.jsonl", bytes, |path| {
        let records = read_journal(path).expect("lines never stop it");
        let _ = render(&About::default(), &records);
        drop(Journal::open(path, 2).expect("lines never stop it"));
        let kept: Vec<_> = records.into_iter().filter(|it| it.step() <= 2).collect();
        assert_eq!(read_journal(path).expect("it is mended"), kept);
        let mended = fs::read(path).expect("it is there");
        drop(Journal::open(path, 2).expect("it is mended"));
        assert_eq!(fs::read(path).expect("it is there"), mended);
    });
});
