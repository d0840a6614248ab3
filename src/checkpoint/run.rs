//! The folder of a run: creating it, opening it, and the paths of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::beside;
use super::disk::{Disk, io_error};
use super::error::CheckpointError;
use super::history::Keep;
use super::lock::RunLock;
use super::manifest::FileEntry;
use super::save::{self, to_json};
use super::saved::{Checkpoint, read_json};

/// File of the experiment, both in a run and in a checkpoint.
pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const REJECTED: &str = "metrics.rejected.jsonl";
pub(super) const REPORT: &str = "report.html";
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// Largest lag of file timestamps behind the process clock, in milliseconds.
const FILE_CLOCK_MS: u64 = 20;

/// The folder of a run: written by training, read by everything else.
#[derive(Debug, Clone)]
pub struct Run {
    path: PathBuf,
    pub(super) keep: Keep,
    pub(super) disk: Disk,
    /// Held while this process writes into the run.
    lock: Option<Arc<RunLock>>,
    /// Sizes and digests of the run's own files when training began.
    settled: Arc<OnceLock<Vec<FileEntry>>>,
}

impl Run {
    /// Makes the folder of a new run with its config and, if it is given, its tokenizer. A run without a checkpoint
    /// at the same path is replaced.
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
        let (run, beginning) = Self::begin(path, config, |run| match tokenizer {
            Some(tokenizer) => run.write_tokenizer(tokenizer),
            None => Ok(()),
        })?;
        beginning.keep();
        Ok(run)
    }

    /// Opens the run at `path` and removes left-over files of killed saves.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotARun`] if there is no run, [`CheckpointError::Unmade`] if its start was interrupted.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let run = Self::at(path.into());
        for (missing, present) in [
            (CONFIG, run.config_path().is_file()),
            (CHECKPOINTS, run.checkpoints_path().is_dir()),
        ] {
            if !present {
                // a folder with a checkpoint was a run once
                return Err(if run.steps().is_ok_and(|steps| steps.is_empty()) {
                    CheckpointError::Unmade { path: run.path }
                } else {
                    CheckpointError::NotARun {
                        path: run.path,
                        missing,
                    }
                });
            }
        }
        save::sweep_if_idle(&run.checkpoints_path());
        Ok(run)
    }

    /// The run directly under `root` with the most recently saved checkpoint; `None` if no run has a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if `root` exists and cannot be read.
    pub fn newest_under(root: impl AsRef<Path>) -> Result<Option<Self>, CheckpointError> {
        for run in Self::all_under(root)? {
            if run.newest()?.is_some() {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// The runs directly under `root`, most recently saved first; a run without a checkpoint is ranked by its time of
    /// creation.
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
                let is_run = run.config_path().is_file() && run.checkpoints_path().is_dir();
                let last_ms = match run.newest().ok()? {
                    Some(newest) => newest.manifest().saved_at_ms,
                    None => run.made_at_ms()?,
                };
                is_run.then_some((last_ms, run.path))
            })
            .collect();
        runs.sort_by(|left, right| right.cmp(left));
        runs.into_iter().map(|(_, path)| Self::open(path)).collect()
    }

    pub(super) fn at(path: PathBuf) -> Self {
        Self {
            path,
            keep: Keep::default(),
            disk: Disk::default(),
            lock: None,
            settled: Arc::default(),
        }
    }

    /// Locks the run for writing: no other process can lock it until this value and its clones are dropped.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::InUse`] if another process holds the lock, [`CheckpointError::Io`] if the lock file cannot
    /// be created.
    pub fn locked(mut self) -> Result<Self, CheckpointError> {
        if self.lock.is_none() {
            self.lock = Some(Arc::new(RunLock::take(&self.path)?));
        }
        Ok(self)
    }

    /// Records the digests of the configuration and the tokenizer as they are now. Later checkpoints refer to these,
    /// even if the files are changed during training.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if a file cannot be read.
    pub fn settle(&self) -> Result<(), CheckpointError> {
        self.beside().map(drop)
    }

    /// Sizes and digests of the run's own files when training began.
    pub(super) fn beside(&self) -> Result<Vec<FileEntry>, CheckpointError> {
        if let Some(settled) = self.settled.get() {
            return Ok(settled.clone());
        }
        let found = beside::entries(&self.path)?;
        Ok(self.settled.get_or_init(|| found).clone())
    }

    /// Checks that the configuration and the tokenizer are the ones that a checkpoint was saved with; its weights are
    /// useless with others.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Changed`] for the first file that differs.
    pub fn verify_beside(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        beside::verify(&self.path, checkpoint.manifest())
    }

    /// Sets which checkpoints remain after a save. Default: all.
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of `config.json`, the experiment at the run's start.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Path of `tokenizer.json`.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.path.join(TOKENIZER)
    }

    /// Path of `metrics.jsonl`, the journal with one record per line.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Path of `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join(REPORT)
    }

    pub(super) fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Reads the experiment of the newest checkpoint, or of the run's start if there is no checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], [`CheckpointError::Json`] if it cannot be parsed as `C`, [`CheckpointError::Damaged`]
    /// if the newest checkpoint's file is damaged.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, CheckpointError> {
        self.config_at(self.newest()?.as_ref())
    }

    /// Reads the experiment as of a checkpoint, or as of the run's start.
    ///
    /// # Errors
    ///
    /// Those of [`Run::config`].
    pub fn config_at<C: DeserializeOwned>(
        &self,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<C, CheckpointError> {
        let own = checkpoint.map(Checkpoint::config).transpose()?.flatten();
        own.map_or_else(|| read_json(&self.config_path()), Ok)
    }

    /// Time at which the run was created, in milliseconds since 1970: its config is written last.
    pub fn made_at_ms(&self) -> Option<u64> {
        let written = fs::metadata(self.config_path()).and_then(|it| it.modified());
        let since_1970 = written.ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since_1970.as_millis() as u64)
    }

    /// BLAKE3 of `config.json`, in hex. Compare with [`Manifest::config_digest`](super::Manifest::config_digest) to
    /// see whether the file was edited since a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be read.
    pub fn config_digest(&self) -> Result<String, CheckpointError> {
        let path = self.config_path();
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        Ok(blake3::hash(&bytes).to_hex().to_string())
    }

    /// Reads `tokenizer.json` as bytes.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be read.
    pub fn tokenizer(&self) -> Result<Vec<u8>, CheckpointError> {
        let path = self.tokenizer_path();
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// Writes `tokenizer.json` atomically.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_tokenizer(&self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.disk.write_atomically(&self.tokenizer_path(), bytes)
    }

    /// Writes `value` as a JSON file `name` in the folder, atomically.
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

    /// Reads a file that [`write_json`](Self::write_json) wrote; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`], or [`CheckpointError::Json`] if it cannot be parsed as `T`.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CheckpointError> {
        let path = self.path.join(name);
        path.is_file().then(|| read_json(&path)).transpose()
    }

    /// Whether the report is newer than a checkpoint, so that nothing is left to do after it.
    pub fn is_reported_since(&self, checkpoint: &Checkpoint) -> bool {
        let written = fs::metadata(self.report_path()).and_then(|it| it.modified());
        let since_1970 = written
            .ok()
            .and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let written_ms = since_1970.map(|it| it.as_millis() as u64);
        written_ms.is_some_and(|it| it + FILE_CLOCK_MS >= checkpoint.manifest().saved_at_ms)
    }

    /// Writes an HTML file `name` in the folder, atomically.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_page(&self, name: &str, html: &str) -> Result<(), CheckpointError> {
        self.disk
            .write_atomically(&self.path.join(name), html.as_bytes())
    }

    /// Writes `report.html` atomically.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if it cannot be written.
    pub fn write_report(&self, html: &str) -> Result<(), CheckpointError> {
        self.write_page(REPORT, html)
    }
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
        save(&new_run(&path), 1);
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
            Err(CheckpointError::Unmade { .. })
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
