//! The folder of a run: making it, finding it, what it is called where.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::{Disk, io_error};
use super::error::CheckpointError;
use super::history::Keep;
use super::save::{self, to_json};
use super::saved::read_json;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";
const CHECKPOINTS: &str = "checkpoints";

/// A folder that training writes and everything else reads.
#[derive(Debug, Clone)]
pub struct Run {
    path: PathBuf,
    pub(super) keep: Keep,
    pub(super) disk: Disk,
}

impl Run {
    /// Makes the folder of a new run, with its config and, if it is known already, its tokenizer.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::RunExists`] or [`CheckpointError::NotEmpty`] if the folder is in use;
    /// [`CheckpointError::Io`] if it cannot be written to.
    pub fn create<C: Serialize + ?Sized>(
        path: impl Into<PathBuf>,
        config: &C,
        tokenizer: Option<&[u8]>,
    ) -> Result<Self, CheckpointError> {
        let run = Self::at(path.into());
        let checkpoints = run.checkpoints_path();
        fs::create_dir_all(&run.path).map_err(io_error("create", &run.path))?;
        refuse_used_folder(&run.path)?;

        let config = to_json(&run.config_path(), config)?;
        fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        if let Some(tokenizer) = tokenizer {
            run.write_tokenizer(tokenizer)?;
        }
        // last: with a config the folder is a run
        run.disk.write_atomically(&run.config_path(), &config)?;
        Ok(run)
    }

    /// Checks that [`Run::create`] would succeed at `path`, and leaves nothing behind: to be asked before
    /// long work whose result is to be a run.
    ///
    /// # Errors
    ///
    /// Those of [`Run::create`].
    pub fn check_new(path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        if path.is_dir() {
            refuse_used_folder(path)?;
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

    /// Opens the run at `path` and removes what killed saves left there.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotARun`] if there is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let run = Self::at(path.into());
        for (missing, present) in [
            (CONFIG, run.config_path().is_file()),
            (CHECKPOINTS, run.checkpoints_path().is_dir()),
        ] {
            if !present {
                return Err(CheckpointError::NotARun {
                    path: run.path,
                    missing,
                });
            }
        }
        save::sweep_if_idle(&run.checkpoints_path());
        Ok(run)
    }

    /// The run directly under `root` whose newest checkpoint was saved last, if any has one.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if `root` exists and cannot be read.
    pub fn newest_under(root: impl AsRef<Path>) -> Result<Option<Self>, CheckpointError> {
        Ok(Self::all_under(root)?.into_iter().next())
    }

    /// The runs directly under `root` that have a checkpoint, the one saved last first.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if `root` exists and cannot be read.
    pub fn all_under(root: impl AsRef<Path>) -> Result<Vec<Self>, CheckpointError> {
        let root = root.as_ref();
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", root)(error)),
        };
        let mut runs: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let run = Self::at(entry.path());
                let newest = run.newest().ok()??;
                run.config_path()
                    .is_file()
                    .then(|| (newest.manifest().saved_at_ms, run.path))
            })
            .collect();
        runs.sort_by(|left, right| right.cmp(left));
        runs.into_iter().map(|(_, path)| Self::open(path)).collect()
    }

    fn at(path: PathBuf) -> Self {
        Self {
            path,
            keep: Keep::default(),
            disk: Disk::default(),
        }
    }

    /// Sets how many checkpoints a save leaves. All, unless set.
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`: the experiment.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `tokenizer.json`.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.path.join(TOKENIZER)
    }

    /// `metrics.jsonl`: one line per measured step.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    pub(super) fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Reads the experiment.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], or [`CheckpointError::Json`] if it is no `C`.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, CheckpointError> {
        read_json(&self.config_path())
    }

    /// BLAKE3 of `config.json`, in hex. Compare with [`Manifest::config_digest`](super::Manifest::config_digest) to see whether it was
    /// edited since a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be read.
    pub fn config_digest(&self) -> Result<String, CheckpointError> {
        let path = self.config_path();
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        Ok(blake3::hash(&bytes).to_hex().to_string())
    }

    /// Reads the tokenizer.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if there is none.
    pub fn tokenizer(&self) -> Result<Vec<u8>, CheckpointError> {
        let path = self.tokenizer_path();
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// Writes the tokenizer, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_tokenizer(&self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.disk.write_atomically(&self.tokenizer_path(), bytes)
    }

    /// Writes a JSON file of the caller's into the folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
    ) -> Result<(), CheckpointError> {
        let path = self.path.join(name);
        self.disk.write_atomically(&path, &to_json(&path, value)?)
    }

    /// Reads what [`write_json`](Self::write_json) wrote under a name; none if there is no such file.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], or [`CheckpointError::Json`] if it is no `T`.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CheckpointError> {
        let path = self.path.join(name);
        path.is_file().then(|| read_json(&path)).transpose()
    }

    /// Writes the report, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_report(&self, html: &str) -> Result<(), CheckpointError> {
        self.disk
            .write_atomically(&self.report_path(), html.as_bytes())
    }
}

/// A folder may be empty, or hold what an interrupted [`Run::create`] leaves.
fn refuse_used_folder(path: &Path) -> Result<(), CheckpointError> {
    let ours = [TOKENIZER, ".tokenizer.json.tmp", ".config.json.tmp"];
    let interrupted = path.join(CHECKPOINTS).is_dir();
    let entries = fs::read_dir(path).map_err(io_error("read", path))?;
    for entry in entries {
        let entry = entry.map_err(io_error("read", path))?;
        let found = entry.file_name().to_string_lossy().into_owned();
        if interrupted && path.join(CONFIG).is_file() {
            return Err(CheckpointError::RunExists { path: path.into() });
        }
        let unused = found == CHECKPOINTS
            && fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
        let left_over = interrupted && ours.contains(&found.as_str());
        if !unused && !left_over {
            return Err(CheckpointError::NotEmpty {
                path: path.into(),
                found,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_run(path: &Path) -> Run {
        Run::create(path, &serde_json::json!({"seed": 7}), Some(b"{}")).unwrap()
    }

    fn save(run: &Run, step: u64) {
        run.save(step, |writer| writer.json("state.json", &step))
            .unwrap();
    }

    #[test]
    fn a_run_is_found_again_with_all_that_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let run = new_run(&path);
        save(&run, 400);
        run.write_report("<html>").unwrap();

        let run = Run::open(&path).unwrap();
        assert_eq!(run.config::<serde_json::Value>().unwrap()["seed"], 7);
        assert_eq!(run.tokenizer().unwrap(), b"{}");
        assert_eq!(fs::read(run.report_path()).unwrap(), b"<html>");
        let latest = run.latest().unwrap().unwrap();
        assert_eq!(latest.step(), 400);
        assert!(latest.path().ends_with("checkpoints/step-0000400"));
        assert_eq!(
            latest.manifest().config_digest,
            run.config_digest().unwrap()
        );
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = Run::create(folder.path(), &1, None).unwrap_err();
        assert!(
            error.to_string().contains("(found `thesis.tex`)"),
            "{error}"
        );

        let path = folder.path().join("run");
        new_run(&path);
        let error = Run::create(&path, &1, None).unwrap_err();
        assert!(
            matches!(error, CheckpointError::RunExists { .. }),
            "{error}"
        );
        assert_eq!(
            Run::open(&path)
                .unwrap()
                .config::<serde_json::Value>()
                .unwrap()["seed"],
            7
        );
    }

    #[test]
    fn an_interrupted_creation_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        new_run(&path);
        fs::remove_file(path.join(CONFIG)).unwrap();
        assert!(matches!(
            Run::open(&path),
            Err(CheckpointError::NotARun {
                missing: CONFIG,
                ..
            })
        ));

        new_run(&path);
    }

    #[test]
    fn an_unwritable_folder_is_one_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();

        let path = file.join("run");
        let message = Run::create(&path, &1, None).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!(
                "cannot create {}: Not a directory",
                path.display()
            )),
            "{message}"
        );
    }

    #[test]
    fn the_newest_run_is_that_of_the_last_save() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs");
        assert!(Run::newest_under(&root).unwrap().is_none());
        let [a, b, _empty] = ["a", "b", "empty"].map(|name| new_run(&root.join(name)));
        assert!(Run::newest_under(&root).unwrap().is_none());

        for (run, step) in [(&b, 9), (&a, 1)] {
            save(run, step);
            std::thread::sleep(std::time::Duration::from_millis(5));
            let newest = Run::newest_under(&root).unwrap().unwrap();
            assert_eq!(newest.path(), run.path());
        }
    }
}
