//! Tests that break a save at every point: failing operations, killed processes, damaged files.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

/// Breaks the n-th file operation.
#[derive(Debug)]
pub(super) struct Fault {
    kind: FaultKind,
    before: usize,
    done: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    /// One operation fails, as on a full disk; later ones work.
    Once,
    /// This operation and all later ones fail, as if the process were dead; cleaning up fails too.
    Dead,
}

impl Fault {
    pub(super) fn step(&self) -> io::Result<()> {
        let done = self.done.fetch_add(1, Ordering::Relaxed);
        let breaks = match self.kind {
            FaultKind::Once => done == self.before,
            FaultKind::Dead => done >= self.before,
        };
        if breaks {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

fn new_run(folder: &Path) -> Run {
    Run::create(folder.join("run"), &serde_json::json!({"seed": 7}), None).unwrap()
}

/// Three files whose contents follow from `step`.
fn fill(writer: &mut Writer<'_>, step: u64, size: usize) -> Result<(), CheckpointError> {
    writer.json("state.json", &step)?;
    for name in ["model.bin", "optimizer.bin"] {
        writer.bytes(name, &vec![step as u8; size])?;
    }
    Ok(())
}

/// Asserts that a checkpoint holds the files that `fill` wrote.
fn assert_is(checkpoint: &Checkpoint, step: u64, size: usize) {
    checkpoint.verify().unwrap();
    assert_eq!(checkpoint.step(), step);
    assert_eq!(checkpoint.json::<u64>("state.json").unwrap(), step);
    for name in ["model.bin", "optimizer.bin"] {
        let bytes = checkpoint.bytes(name).unwrap();
        assert_eq!(bytes.len(), size);
        assert!(bytes.iter().all(|&byte| byte == step as u8));
    }
}

fn hidden_entries(run: &Run) -> Vec<String> {
    let entries = std::fs::read_dir(run.path().join("checkpoints")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') && name != ".lock")
        .collect()
}

/// Opens a run until no litter is left. A process that another test is about to start may hold the lock
/// for a moment, between its fork and its exec; then opening cleans nothing.
fn open_clean(run: &Run) -> Run {
    for _ in 0..100 {
        let run = Run::open(run.path()).unwrap();
        if hidden_entries(&run).is_empty() {
            return run;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("opening leaves {:?}", hidden_entries(run));
}

/// Saves step `next` over and over, broken at operation 0, 1, 2, … until none is left to break; `check`
/// sees the result of each. Returns how many operations were broken.
fn break_every_operation(
    kind: FaultKind,
    run: &Run,
    next: u64,
    check: impl Fn(Result<Checkpoint, CheckpointError>),
) -> usize {
    for before in 0.. {
        let fault = Arc::new(Fault {
            kind,
            before,
            done: AtomicUsize::new(0),
        });
        let mut broken = run.clone().with_keep(Keep::Newest(2.try_into().unwrap()));
        broken.disk.fault = Some(fault.clone());
        let result = broken.save(next, |writer| fill(writer, next, 100));
        if fault.done.load(Ordering::Relaxed) <= before {
            result.unwrap();
            return before;
        }
        check(result);
    }
    unreachable!()
}

#[test]
fn a_failing_operation_anywhere_leaves_earlier_checkpoints_and_no_litter() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(folder.path());
    for step in [1, 2] {
        run.save(step, |writer| fill(writer, step, 100)).unwrap();
    }

    let broken = break_every_operation(FaultKind::Once, &run, 3, |result| {
        // an error after the rename: the new checkpoint is complete
        let latest = run.latest().unwrap().unwrap();
        assert!([2, 3].contains(&latest.step()));
        assert_is(&latest, latest.step(), 100);
        match result {
            // old checkpoints could not be deleted: no reason to stop training
            Ok(checkpoint) => assert_is(&checkpoint, 3, 100),
            Err(error) => {
                assert!(matches!(error, CheckpointError::NotSaved { step: 3, .. }));
                let message = error.to_string();
                assert!(message.contains("is intact; make room"), "{message}");
                assert!(message.contains("no storage space"), "{message}");
                let unfinished = |name: &String| name.ends_with(".tmp");
                assert!(!hidden_entries(&run).iter().any(unfinished));
            }
        }
        open_clean(&run);
    });

    assert!(broken > 15, "only {broken} operations were broken");
    assert_is(&run.latest().unwrap().unwrap(), 3, 100);
}

#[test]
fn a_process_that_dies_anywhere_loses_the_running_save_only() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(folder.path());
    for step in [1, 2] {
        run.save(step, |writer| fill(writer, step, 100)).unwrap();
    }

    // saving step 2 again replaces a checkpoint
    for next in [3, 2] {
        let broken = break_every_operation(FaultKind::Dead, &run, next, |_| {
            let reopened = open_clean(&run);
            for checkpoint in reopened.checkpoints().unwrap() {
                assert_is(&checkpoint, checkpoint.step(), 100);
            }
            let latest = reopened.latest().unwrap().unwrap();
            assert!([2, 3].contains(&latest.step()));
            // gives the next save a checkpoint to delete
            reopened.save(1, |writer| fill(writer, 1, 100)).unwrap();
        });
        assert!(broken > 15, "only {broken} operations were broken");
        run.rewind(2).unwrap();
    }
}

#[test]
fn a_loss_that_cannot_be_written_down_costs_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(folder.path());
    run.save(1, |writer| fill(writer, 1, 100)).unwrap();
    for kind in [FaultKind::Once, FaultKind::Dead] {
        let mut broken = 0;
        loop {
            let fault = Arc::new(Fault {
                kind,
                before: broken,
                done: AtomicUsize::new(0),
            });
            let mut faulty = run.clone();
            faulty.disk.fault = Some(fault);
            let loss = ValidLoss {
                loss: broken as f64,
                on: "text".into(),
            };
            let noted = faulty.set_valid(1, loss);
            assert_is(&open_clean(&run).latest().unwrap().unwrap(), 1, 100);
            if noted.is_ok() {
                break;
            }
            broken += 1;
        }
        assert!(broken >= 5, "only {broken} operations were broken");
    }
}

#[test]
fn a_killed_process_never_costs_a_checkpoint_that_it_reported() {
    const SIZE: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(folder.path());
    let mut interrupted = 0;

    for round in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::crash::child_saves_until_killed"])
            .args(["--ignored", "--nocapture"])
            .env("DARKHORSE_TEST_RUN", run.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let saved_line = |line: io::Result<String>| line.ok()?.strip_prefix("saved ")?.parse().ok();
        // waits for one save, so that every round progresses, then kills at a varying moment
        let mut reported: u64 = lines.by_ref().find_map(saved_line).unwrap();
        std::thread::sleep(Duration::from_micros(round * 2_711 % 23_000));
        child.kill().unwrap();
        child.wait().unwrap();
        reported = lines.filter_map(saved_line).last().unwrap_or(reported);

        interrupted += usize::from(!hidden_entries(&run).is_empty());
        let reopened = open_clean(&run);
        let latest = reopened.latest().unwrap().unwrap();
        assert!(latest.step() >= reported, "{} < {reported}", latest.step());
        assert_is(&latest, latest.step(), SIZE);
    }
    println!("{interrupted} of 20 kills struck in the middle of a save");
    assert!(interrupted > 0, "no kill struck in the middle of a save");
}

#[test]
#[ignore = "the process that the test above kills"]
fn child_saves_until_killed() {
    let Ok(path) = std::env::var("DARKHORSE_TEST_RUN") else {
        return;
    };
    let run = Run::open(path)
        .unwrap()
        .with_keep(Keep::Newest(2.try_into().unwrap()));
    let start = run.newest().unwrap().map_or(0, |newest| newest.step());
    for step in start + 1.. {
        run.save(step, |writer| fill(writer, step, 1 << 20))
            .unwrap();
        println!("saved {step}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_that_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a small tmpfs");
        return;
    }
    let run = new_run(folder.path());
    run.save(1, |writer| fill(writer, 1, 100_000)).unwrap();
    let error = run
        .save(2, |writer| fill(writer, 2, 500_000))
        .map(|_| ())
        .unwrap_err();
    let latest = run.latest();
    let litter = hidden_entries(&run);
    let retried = run.save(2, |writer| fill(writer, 2, 200_000));
    // closes the lock file, which is on the mounted file system
    drop(run);
    Command::new("umount").arg(folder.path()).status().unwrap();

    let message = error.to_string();
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.contains("optimizer.bin"), "{message}");
    assert_eq!(latest.unwrap().unwrap().step(), 1);
    assert_eq!(litter, [""; 0]);
    assert_eq!(retried.unwrap().step(), 2);
}

#[test]
fn a_save_in_progress_is_not_swept_away_by_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(folder.path());

    run.save(1, |writer| {
        writer.json("state.json", &1)?;
        Run::open(run.path())?;
        writer.json("more.json", &2)
    })
    .unwrap();

    run.latest().unwrap().unwrap();
}
