//! Creation of a run's folder: where one may be made, and its removal if the start fails.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::beside::BESIDE;
use super::disk::io_error;
use super::error::CheckpointError;
use super::lock::LOCK;
use super::run::{CHECKPOINTS, CONFIG, METRICS, REJECTED, REPORT, Run};
use super::save::{step_of, sweep_if_idle, to_json};

/// Files that a run writes besides those that its weights depend on.
const WRITTEN: [&str; 3] = [METRICS, REJECTED, REPORT];

/// Removes the folder of a new run when dropped, with everything made for it, unless the run is
/// [kept](Beginning::keep).
#[derive(Debug)]
#[must_use = "dropping it removes the run"]
pub struct Beginning {
    folder: PathBuf,
    /// Folders that did not exist before, innermost first.
    made: Vec<PathBuf>,
    found: Found,
}

/// Content of the folder in which a run is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No folder, or an empty one.
    Nothing,
    /// Left-over files of a start that was killed.
    Leftover,
    /// A run without a checkpoint.
    Unbegun,
}

impl Beginning {
    /// Keeps the run's folder.
    pub fn keep(mut self) {
        self.made.clear();
        self.folder.clear();
    }

    /// Whether the new run replaces one that had no checkpoint.
    pub fn replaces_a_run(&self) -> bool {
        self.found == Found::Unbegun
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        if self.folder.as_os_str().is_empty() {
            return;
        }
        // best effort: the cause of the failed start may prevent this too
        if self.made.contains(&self.folder) {
            let _ = fs::remove_dir_all(&self.folder);
        } else {
            remove_own_files(&self.folder);
            let _ = fs::remove_file(self.folder.join(LOCK));
        }
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Run {
    /// Makes the folder of a new run and its config; `fill` writes the run's other initial files. A run without a
    /// checkpoint at the same path is replaced. The folder is removed again unless the returned [`Beginning`] is
    /// kept.
    ///
    /// # Errors
    ///
    /// Those of [`Run::create`] and of `fill`; the folder is then removed.
    pub fn begin<C, E>(
        path: impl Into<PathBuf>,
        config: &C,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<(Self, Beginning), E>
    where
        C: Serialize + ?Sized,
        E: From<CheckpointError>,
    {
        let run = Self::at(path.into());
        let found = look_at(run.path())?;
        let beginning = Beginning {
            made: missing_folders(run.path()),
            folder: run.path().into(),
            found,
        };
        let checkpoints = run.checkpoints_path();
        fs::create_dir_all(run.path()).map_err(io_error("create", run.path()))?;
        // another process may have taken the folder in the meantime
        let taken = run
            .locked()
            .and_then(|run| look_at(run.path()).map(|_| run));
        let run = match taken {
            Ok(run) => run,
            Err(error) => {
                // its content belongs to the other process
                let made = beginning.made.clone();
                beginning.keep();
                for folder in made {
                    let _ = fs::remove_dir(folder);
                }
                return Err(error.into());
            }
        };
        remove_own_files(run.path());
        let config = to_json(&run.config_path(), config)?;
        fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        fill(&run)?;
        // written last, since a folder with a config is a run
        run.disk.write_atomically(&run.config_path(), &config)?;
        Ok((run, beginning))
    }

    /// Checks that [`Run::begin`] would succeed at `path`, without leaving anything behind. Call it before long work
    /// whose result is to become a run.
    ///
    /// # Errors
    ///
    /// Those of [`Run::create`].
    pub fn check_new(path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        look_at(path)?;
        if path.join(LOCK).exists() {
            Self::at(path.into()).locked()?;
        }
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        let existing = match existing {
            Some(existing) if !existing.as_os_str().is_empty() => existing,
            _ => Path::new("."),
        };
        let probe = existing.join(format!(".run-{}.tmp", std::process::id()));
        fs::create_dir(&probe).map_err(io_error("create", path))?;
        fs::remove_dir(&probe).map_err(io_error("remove", &probe))
    }
}

/// `path` and its ancestors that do not exist, innermost first.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let around = path.ancestors().take_while(|folder| !folder.exists());
    let named = around.filter(|folder| !folder.as_os_str().is_empty());
    named.map(Path::to_path_buf).collect()
}

/// Removes the files of a run, the config first: a folder without it is not a run.
fn remove_own_files(folder: &Path) {
    for name in BESIDE.iter().chain(&WRITTEN) {
        let _ = fs::remove_file(folder.join(name));
    }
    let _ = fs::remove_dir_all(folder.join(CHECKPOINTS));
}

/// Finds out what the folder holds: nothing, left-over files of a killed start, or a run without a checkpoint.
/// Anything else is an error.
fn look_at(path: &Path) -> Result<Found, CheckpointError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        // not a folder, or not accessible: `create` has the best error for it
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(io_error("create", path)(error));
        }
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let checkpoints = path.join(CHECKPOINTS);
    // restores a checkpoint whose replacement was interrupted by a kill
    sweep_if_idle(&checkpoints);
    for entry in fs::read_dir(&checkpoints).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // complete or not, a checkpoint is never overwritten
        if step_of(&name).is_some() {
            return Err(CheckpointError::RunExists { path: path.into() });
        }
        if !name.starts_with('.') {
            return Err(CheckpointError::NotEmpty {
                path: path.into(),
                found: format!("{CHECKPOINTS}/{name}"),
            });
        }
    }
    let is_run = checkpoints.is_dir() && path.join(CONFIG).is_file();
    let mut found = Found::Nothing;
    for entry in entries {
        let name = entry.map_err(io_error("read", path))?.file_name();
        let name = name.to_string_lossy().into_owned();
        found = Found::Leftover;
        if name == LOCK {
            continue;
        }
        let is_own = name == CHECKPOINTS
            || BESIDE.contains(&&*name)
            || WRITTEN.contains(&&*name)
            || name.ends_with(".tmp");
        // folders of other models have a config and a tokenizer too
        if !is_own || !checkpoints.is_dir() {
            return Err(CheckpointError::NotEmpty {
                path: path.into(),
                found: name,
            });
        }
    }
    Ok(if is_run { Found::Unbegun } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(path: &Path) -> Result<(Run, Beginning), CheckpointError> {
        Run::begin(path, &serde_json::json!({"seed": 7}), |run| {
            run.write_json("origin.json", &1)
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_start_that_fails_takes_back_every_folder_that_it_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/deep/run");
        drop(begin(&path).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);

        let failed = Run::begin(&path, &1, |_| {
            Err(io_error("write", Path::new("x"))(
                ErrorKind::StorageFull.into(),
            ))
        });
        failed.unwrap_err();
        assert_eq!(names(folder.path()), [""; 0]);

        fs::create_dir_all(&path).unwrap();
        drop(begin(&path).unwrap());
        assert_eq!(names(&path), [""; 0]);

        let (run, beginning) = begin(&path).unwrap();
        beginning.keep();
        assert_eq!(run.config::<serde_json::Value>().unwrap()["seed"], 7);
    }

    #[test]
    fn a_run_without_a_checkpoint_gives_way_and_one_with_a_checkpoint_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        begin(&path).unwrap().1.keep();
        fs::write(path.join(METRICS), "{}\n").unwrap();
        Run::check_new(&path).unwrap();
        let (run, beginning) = begin(&path).unwrap();
        assert!(beginning.replaces_a_run());
        assert!(!run.metrics_path().exists());
        beginning.keep();

        run.save(0, |writer| writer.json("state.json", &0)).unwrap();
        for refused in [Run::check_new(&path), begin(&path).map(drop)] {
            assert!(matches!(refused, Err(CheckpointError::RunExists { .. })));
        }
        // nor a run whose checkpoint was being replaced
        let checkpoints = run.checkpoints_path();
        fs::rename(
            checkpoints.join("step-0000000"),
            checkpoints.join(".step-0000000-1.replaced"),
        )
        .unwrap();
        assert!(begin(&path).is_err());
        assert_eq!(run.latest().unwrap().unwrap().step(), 0);
    }

    #[test]
    fn files_of_others_are_never_taken_for_a_run() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "config.json",
            "thesis.tex",
            ".git",
            "checkpoints/epoch-1.pt",
        ] {
            let path = folder.path().join(name.len().to_string());
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), "mine").unwrap();
            let refused = begin(&path).unwrap_err().to_string();
            assert!(refused.contains(&format!("(found `{name}`)")), "{refused}");
            assert_eq!(fs::read(path.join(name)).unwrap(), b"mine");
        }
    }

    #[test]
    fn what_a_killed_start_leaves_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        for gone in [CONFIG, "origin.json"] {
            begin(&path).unwrap().1.keep();
            fs::remove_file(path.join(CONFIG)).unwrap();
            let _ = fs::remove_file(path.join(gone));
            fs::write(path.join(".config.json.tmp"), "{").unwrap();
            let (_, beginning) = begin(&path).unwrap();
            assert!(!beginning.replaces_a_run());
            drop(beginning);
            fs::remove_file(path.join(".config.json.tmp")).ok();
        }
    }
}
