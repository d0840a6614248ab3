//! The default run of commands: the newest trained one, whose name is told to the user.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::checkpoint::{Checkpoint, CheckpointError, Manifest, Run};
use crate::config::Experiment;
use crate::model::ModelConfig;
use indicatif::HumanDuration;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::stored::{is_copy, is_unfinished_copy};

/// Folder of the runs.
pub(crate) const RUNS: &str = "runs";

/// Folder for a new run of an experiment, named after it and the time.
pub(crate) fn new_run(experiment: &str) -> PathBuf {
    let stem = Path::new(experiment).file_stem().unwrap_or_default();
    let seconds = since_1970().as_secs();
    let name = format!("{}-{seconds}", stem.to_string_lossy());
    free(Path::new(RUNS), &name)
}

/// The folder of this name, with a number appended if it exists already.
fn free(root: &Path, name: &str) -> PathBuf {
    let mut folder = root.join(name);
    for number in 2.. {
        if !folder.exists() {
            break;
        }
        folder = root.join(format!("{name}-{number}"));
    }
    folder
}

/// The newest trained run, of a preset if one is named. Tells the user which one.
pub(crate) fn newest(preset: Option<&str>) -> Result<Run, Failure> {
    let missing = |what: &str| {
        Failure::input(format!(
            "{what} in `{RUNS}/`: make one with `darkhorse-genesis train --params {}`, or name one with `--model RUN`",
            preset.unwrap_or("tiny")
        ))
    };
    let Some(preset) = preset else {
        let newest = newest_trained(RUNS, |_| true).or_input()?;
        return newest.ok_or_else(|| missing("no trained run"));
    };
    let wanted = Experiment::preset(preset).or_input()?.model;
    let is_wanted = |run: &Run| {
        run.config::<Experiment>().is_ok_and(|found| {
            // runs may differ from their preset in tokenizer and domains
            let found = ModelConfig {
                vocab_size: wanted.vocab_size,
                domains: wanted.domains.clone(),
                ..found.model
            };
            found == wanted
        })
    };
    let newest = newest_trained(RUNS, is_wanted).or_input()?;
    newest.ok_or_else(|| missing(&format!("no trained run of `{preset}`")))
}

/// The most recently saved trained run under `root` that `is_wanted` accepts. Tells the user which one.
pub(crate) fn newest_trained(
    root: impl AsRef<Path>,
    is_wanted: impl Fn(&Run) -> bool,
) -> Result<Option<Run>, CheckpointError> {
    for run in Run::all_under(root)? {
        let Some(saved) = run.newest()? else { continue };
        if !is_copy(&run, saved.step()) && is_wanted(&run) {
            notice::tell(Choice::of(&run, Some(saved.manifest())));
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// The run under `root` to resume: the most recently trained one, including runs that were stopped before their first
/// checkpoint. Tells the user which one.
pub(crate) fn newest_begun(root: impl AsRef<Path>) -> Result<Option<Run>, CheckpointError> {
    for run in Run::all_under(root)? {
        let saved = run.newest()?;
        let is_copy = match &saved {
            Some(saved) => is_copy(&run, saved.step()),
            None => is_unfinished_copy(&run),
        };
        if !is_copy {
            let newest = saved.as_ref().map(Checkpoint::manifest);
            notice::tell(Choice::of(&run, newest));
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// Displays which run was chosen.
struct Choice<'a> {
    folder: &'a Path,
    /// Step of its newest checkpoint, if it has one.
    step: Option<u64>,
    /// Time since the checkpoint was saved, or since the run was created.
    age: Duration,
}

impl<'a> Choice<'a> {
    fn of(run: &'a Run, newest: Option<&Manifest>) -> Self {
        let since_ms = newest.map_or_else(|| run.made_at_ms(), |it| Some(it.saved_at_ms));
        let since = since_ms.map_or_else(since_1970, Duration::from_millis);
        Self {
            folder: run.path(),
            step: newest.map(|it| it.step),
            age: since_1970().saturating_sub(since),
        }
    }
}

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}, ", self.folder.display())?;
        match self.step {
            Some(step) => write!(f, "step {step}, saved ")?,
            None => write!(f, "without a checkpoint, begun ")?,
        }
        match self.age.as_secs() {
            0 => write!(f, "just now"),
            seconds => write!(f, "{} ago", HumanDuration(Duration::from_secs(seconds))),
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &Path, name: &str, step: u64, files: &[(&str, &str)]) {
        let run = Run::create(root.join(name), &serde_json::json!({}), None).unwrap();
        for (file, text) in files {
            std::fs::write(run.path().join(file), text).unwrap();
        }
        run.save(step, |writer| writer.json("state.json", &step))
            .unwrap();
    }

    fn newest_name(root: &Path) -> Option<String> {
        let run = newest_trained(root, |_| true).unwrap()?;
        Some(run.path().file_name()?.to_str()?.to_owned())
    }

    const TRAINED: &[(&str, &str)] = &[("metrics.jsonl", "{}\n")];
    const COPIED: &[(&str, &str)] = &[("origin.json", "{}")];

    #[test]
    fn copies_are_passed_over_however_new_they_are() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(newest_name(root), None);
        run(root, "imported-first", 0, COPIED);
        assert_eq!(newest_name(root), None);
        run(root, "old", 100, TRAINED);
        run(root, "trained", 500, TRAINED);
        run(root, "quantized", 500, COPIED);
        run(root, "imported", 0, COPIED);
        // an import of an older version, without a record of its origin
        run(root, "imported-long-ago", 0, &[]);
        assert_eq!(newest_name(root).as_deref(), Some("trained"));
        // a fine-tuned model has an origin too
        run(root, "tuned", 3, &[TRAINED, COPIED].concat());
        assert_eq!(newest_name(root).as_deref(), Some("tuned"));
        // a trained run whose journal was deleted
        run(root, "thinned", 7, &[]);
        assert_eq!(newest_name(root).as_deref(), Some("thinned"));
    }

    #[test]
    fn a_run_that_has_saved_nothing_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "trained", 5, TRAINED);
        let unsaved = root.path().join("stopped");
        let unsaved = Run::create(unsaved, &serde_json::json!({}), None).unwrap();
        std::fs::write(unsaved.metrics_path(), "").unwrap();
        assert_eq!(newest_name(root.path()).as_deref(), Some("trained"));
    }

    #[test]
    fn a_run_that_has_saved_nothing_goes_on_if_it_was_begun_last() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let begun = || {
            let run = newest_begun(root).unwrap()?;
            Some(run.path().file_name()?.to_str()?.to_owned())
        };
        let without_checkpoint = |name: &str, files: &[(&str, &str)]| {
            let run = Run::create(root.join(name), &serde_json::json!({}), None).unwrap();
            for (file, text) in files {
                std::fs::write(run.path().join(file), text).unwrap();
            }
            // file times are coarser than those in manifests
            let later = SystemTime::now() + Duration::from_secs(60);
            let config = std::fs::File::options().write(true).open(run.config_path());
            config.unwrap().set_modified(later).unwrap();
        };
        assert_eq!(begun(), None);
        run(root, "trained", 5, TRAINED);
        assert_eq!(begun().as_deref(), Some("trained"));
        // an import that was killed
        without_checkpoint("imported", COPIED);
        std::fs::create_dir(root.join("no-run")).unwrap();
        assert_eq!(begun().as_deref(), Some("trained"));
        without_checkpoint("stopped", &[]);
        assert_eq!(begun().as_deref(), Some("stopped"));
        assert_eq!(newest_name(root).as_deref(), Some("trained"));
    }

    #[test]
    fn runs_that_begin_in_the_same_second_have_folders_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut names = Vec::new();
        for _ in 0..3 {
            let folder = free(root, "tiny-1790");
            std::fs::create_dir(&folder).unwrap();
            names.push(folder.file_name().unwrap().to_owned());
        }
        assert_eq!(names, ["tiny-1790", "tiny-1790-2", "tiny-1790-3"]);
    }

    #[test]
    fn a_choice_is_told_with_its_age() {
        let choice = |seconds| Choice {
            folder: Path::new("runs/tiny-1790"),
            step: Some(500),
            age: Duration::from_secs(seconds),
        };
        assert_eq!(
            choice(190).to_string(),
            "run runs/tiny-1790, step 500, saved 3 minutes ago"
        );
        assert_eq!(
            choice(0).to_string(),
            "run runs/tiny-1790, step 500, saved just now"
        );
        let unsaved = Choice {
            step: None,
            ..choice(190)
        };
        assert_eq!(
            unsaved.to_string(),
            "run runs/tiny-1790, without a checkpoint, begun 3 minutes ago"
        );
    }
}
