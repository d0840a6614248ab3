//! The program with a preloaded library that makes its n-th file operation fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use darkhorse_genesis::checkpoint::Run;

use super::{all, experiment, write_config};

/// Number of operations of each kind that fail, unless all are tested.
const SAMPLE: usize = 9;

/// A folder to train in, with the library.
struct Place {
    folder: PathBuf,
    config: PathBuf,
    shim: PathBuf,
}

/// The operation to fail.
struct Fault {
    kind: &'static str,
    at: usize,
}

impl Place {
    fn train(&self, arguments: &[&str], fault: Option<&Fault>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_darkhorse-genesis"));
        command.args(["train", "--out", "runs/it"]).args(arguments);
        command.current_dir(&self.folder);
        if let Some(Fault { kind, at }) = fault {
            command
                .env("LD_PRELOAD", &self.shim)
                .env("FAULT_UNDER", &self.folder)
                .env("FAULT_KIND", kind)
                .env("FAULT_AT", at.to_string())
                .env("FAULT_COUNT", self.folder.with_extension("count"));
        }
        command.output().expect("the program is there")
    }

    fn begin(&self, fault: Option<&Fault>) -> Output {
        let config = self.config.to_str().expect("the path is UTF-8");
        self.train(&["--config", config], fault)
    }

    /// Digest of the final weights, if the run exists and has ended.
    fn ended(&self) -> Option<String> {
        let run = Run::open(self.folder.join("runs/it")).ok()?;
        let last = run.latest().ok()??;
        let files = &last.manifest().files;
        let model = files.iter().find(|file| file.name == "model.safetensors")?;
        (last.step() == 3 && run.report_path().is_file()).then(|| model.blake3.clone())
    }

    /// Resumes or restarts whatever is there, as the program's message advises.
    fn go_on(&self) -> Result<(), String> {
        let resumed = self.train(&["--resume"], None);
        if resumed.status.success() {
            return Ok(());
        }
        let begun = self.begin(None);
        if begun.status.success() {
            Ok(())
        } else {
            Err(format!("{}\n{}", said(&resumed), said(&begun)))
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn compile(folder: &Path) -> PathBuf {
    let (source, shim) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, include_str!("shim.c")).expect("the folder can be written to");
    let built = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .args([&shim, &source])
        .arg("-ldl")
        .status();
    // cargo links with it as well, so it exists
    assert!(built.expect("there is a C compiler").success());
    shim
}

#[test]
fn a_fault_at_any_file_operation_costs_nothing_that_was_saved() {
    let root = tempfile::tempdir().expect("there is a temporary folder");
    let root = root.path().canonicalize().expect("it is there");
    let config = write_config(&experiment(&root), &root);
    let shim = compile(&root);
    let place = |name: &str| {
        let folder = root.join(name);
        fs::create_dir(&folder).expect("the folder can be written to");
        Place {
            folder,
            config: config.clone(),
            shim: shim.clone(),
        }
    };
    let sound = place("sound");
    let counted = sound.begin(Some(&Fault {
        kind: "none",
        at: usize::MAX >> 1,
    }));
    assert!(counted.status.success(), "{}", said(&counted));
    let expected = sound.ended().expect("the run ended");
    let count = fs::read_to_string(sound.folder.with_extension("count"));
    let count: usize = count.expect("it was counted").parse().expect("a number");
    assert!(count > 60, "only {count} operations");

    let step = if all() { 1 } else { count / SAMPLE };
    let faults: Vec<Fault> = (0..)
        .zip(["kill", "eio", "full"])
        .flat_map(|(number, kind)| {
            let first = number * step / 3;
            let places = (first..count).step_by(step);
            places.map(move |at| Fault { kind, at })
        })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Fault { kind, at } = fault;
            let place = place(&format!("{kind}-{at}"));
            let problem = try_fault(&place, fault, &expected).err();
            fs::remove_dir_all(&place.folder).expect("it is ours");
            if let Some(problem) = problem {
                // printed at once, since the complete list takes minutes
                eprintln!("{kind} at {at} of {count}: {problem}");
                let mut failed = failed.lock().expect("no thread panics with it");
                failed.push(format!("{kind} at {at} of {count}: {problem}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("no thread panics with it");
    println!("{} faults over {count} operations", faults.len());
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        faults.len(),
        failed.join("\n")
    );
}

/// Trains with a fault, then continues.
fn try_fault(place: &Place, fault: &Fault, expected: &str) -> Result<(), String> {
    let output = place.begin(Some(fault));
    let said = said(&output);
    let errors = said.lines().filter(|line| line.starts_with("error:"));
    let errors: Vec<&str> = errors.collect();
    if said.contains("(a bug") || said.contains("panicked") {
        return Err(said);
    }
    match (fault.kind, output.status.code()) {
        ("kill", _) => {}
        // faults without harm, such as a failed removal of an old checkpoint
        (_, Some(0)) if place.ended().as_deref() == Some(expected) => return Ok(()),
        (_, Some(1 | 2)) if errors.len() == 1 => {
            let reason = match fault.kind {
                "full" => "No space left on device",
                _ => "Input/output error",
            };
            if !errors[0].contains(reason) {
                return Err(format!("the error does not tell why: {said}"));
            }
        }
        (_, code) => return Err(format!("ended with {code:?}: {said}")),
    }
    place.go_on()?;
    match place.ended() {
        Some(weights) if weights == expected => Ok(()),
        ended => Err(format!(
            "gone on, it ended as {ended:?}, not {expected}; {said}"
        )),
    }
}
