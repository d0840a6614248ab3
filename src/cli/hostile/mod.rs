//! Damaged and hostile files: whatever their bytes are, they are read or refused in one line.
//!
//! Each format has a test that runs this test program again as a child, so that aborts are seen and endless loops are
//! ended. Inputs are generated from small valid files by a fixed sequence of changes; none is stored.

#![allow(clippy::print_stdout)]

mod configurations;
mod formats;
mod keys;
mod memory;
mod mutation;
mod state;

use std::env;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cli::failure::Failure;
use formats::{Case, Format};
use mutation::{Random, mutated};

/// Environment variable that names the format to the child process.
const FORMAT: &str = "DARKHORSE_HOSTILE_FORMAT";
/// Environment variable with the number of inputs per format, for longer tests.
const INPUTS: &str = "DARKHORSE_HOSTILE_INPUTS";
/// Time limit, longer than all inputs of a format take on a slow machine.
const WATCHDOG: Duration = Duration::from_secs(600);

/// Longest allowed line of an error, in bytes: it names a file and may quote 100 characters of it, twice.
const LONGEST: usize = 600;

/// Place and message of the last panic.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Reads the inputs of one format; the last line of output tells that all were read.
#[test]
#[ignore = "run by the tests of the formats, in a process of its own"]
fn reads_the_inputs_of_a_format() {
    let Some(format) = env::var(FORMAT).ok().and_then(|name| Format::of(&name)) else {
        return;
    };
    let inputs = env::var(INPUTS).ok().and_then(|number| number.parse().ok());
    let inputs: usize = inputs.unwrap_or(500);
    panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap() = panic.to_string().replace('\n', " ");
    }));
    let cases = format.cases();
    for case in &cases {
        (case.read)(&case.path).unwrap_or_else(|failure| {
            println!("SEED {}: {}", case.target.display(), failure.line());
        });
    }
    memory::begin();
    let (mut read, mut refused) = (0, 0);
    let mut try_one = |case: &Case, name: &str, bytes: &[u8]| {
        fs::write(&case.target, bytes).unwrap();
        println!("INPUT {name}");
        stdout().flush().unwrap();
        let (result, peak) =
            memory::peak_of(|| catch_unwind(AssertUnwindSafe(|| (case.read)(&case.path))));
        match result {
            Ok(Ok(())) => read += 1,
            Ok(Err(failure)) => {
                refused += 1;
                fault(&failure)
                    .into_iter()
                    .for_each(|fault| println!("FAULT {name}: {fault}"));
            }
            Err(_) => println!("FAULT {name}: {}", LAST_PANIC.lock().unwrap()),
        }
        if peak > limit(case, bytes.len()) {
            println!(
                "FAULT {name}: {peak} bytes held for a file of {}",
                bytes.len()
            );
        }
        case.restore();
    };
    match format {
        Format::Keys | Format::PlanKeys => {
            for case in &cases {
                for variant in keys::variants(&case.seed, case.kind) {
                    let file = case.path.display();
                    try_one(case, &format!("{file}: {}", variant.name), &variant.bytes);
                }
            }
        }
        _ => {
            for number in 0..inputs {
                let case = &cases[number % cases.len()];
                let mut random = Random::new(number as u64 + 1);
                let bytes = mutated(&case.seed, case.kind, &mut random);
                try_one(case, &number.to_string(), &bytes);
            }
        }
    }
    println!("\nREAD {read} REFUSED {refused}");
}

/// The defect of a refusal, if it has one.
fn fault(failure: &Failure) -> Option<String> {
    let line = failure.line();
    match (line.as_str(), failure.code()) {
        ("", _) => Some("nothing said".into()),
        (line, _) if line.contains('\n') => Some(format!("not one line: {line:?}")),
        (line, _) if line.len() > LONGEST => Some(format!("{} bytes: {line}", line.len())),
        (line, 2) if !line.contains("(a bug") => None,
        (line, code) => Some(format!("exit code {code}: {line}")),
    }
}

/// Limit on allocated bytes: four times the files, plus a constant per case.
fn limit(case: &Case, bytes: usize) -> usize {
    4 * (bytes.max(case.seed.len()) + case.beside) + case.constant
}

fn survive(format: Format) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg("cli::hostile::reads_the_inputs_of_a_format")
        .env(FORMAT, format.name())
        .env("RAYON_NUM_THREADS", "1")
        .stdout(File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > WATCHDOG {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let log = fs::read_to_string(&log).unwrap();
    let last = log
        .lines()
        .rfind(|line| line.starts_with("INPUT"))
        .unwrap_or("no input");
    let status = status.unwrap_or_else(|| panic!("{format:?}: {last} does not end"));
    let end = log.lines().find(|line| line.starts_with("READ"));
    let end = end.unwrap_or_else(|| panic!("{format:?}: {last} ended the process: {status}"));
    let faults: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("FAULT") || line.starts_with("SEED"))
        .collect();
    assert!(faults.is_empty(), "{format:?}:\n{}", faults.join("\n"));
    assert!(status.success(), "{format:?}: {status}");
    // a useful set of changes has some that are read and some that are refused
    let [_, read, _, refused] = end.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{end}");
    };
    assert!(read != "0" && refused != "0", "{format:?}: {end}");
}

#[test]
fn a_gguf_file_is_read_or_refused() {
    survive(Format::Gguf);
}

#[test]
fn a_safetensors_file_is_read_or_refused() {
    survive(Format::Safetensors);
}

#[test]
fn an_index_of_shards_is_read_or_refused() {
    survive(Format::Index);
}

#[test]
fn a_models_configuration_is_read_or_refused() {
    survive(Format::ModelConfig);
}

#[test]
fn a_tokenizer_is_read_or_refused() {
    survive(Format::Tokenizer);
}

#[test]
fn a_genesis_checkpoint_is_read_or_refused() {
    survive(Format::Genesis);
}

#[test]
fn lines_of_json_are_read_or_refused() {
    survive(Format::Lines);
}

#[test]
fn compressed_lines_are_read_or_refused() {
    survive(Format::Compressed);
}

#[test]
fn a_parquet_file_is_read_or_refused() {
    survive(Format::Parquet);
}

#[test]
fn a_run_is_read_or_refused() {
    survive(Format::Run);
}

#[test]
fn the_state_of_training_is_gone_on_with_or_refused() {
    survive(Format::State);
}

#[test]
fn a_journal_is_read_and_gone_on_with_whatever_its_lines_are() {
    survive(Format::Journal);
}

#[test]
fn an_experiment_is_read_or_refused() {
    survive(Format::Experiment);
}

#[test]
fn every_key_of_a_configuration_is_read_or_refused_whatever_its_value() {
    survive(Format::Keys);
}

#[test]
fn every_key_that_a_plan_reads_is_read_or_refused_whatever_its_value() {
    survive(Format::PlanKeys);
}
