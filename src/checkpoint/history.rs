//! The checkpoints of a run: saving the next one and finding the last intact one.

use std::fs;
use std::num::NonZeroUsize;

use super::disk::io_error;
use super::error::CheckpointError;
use super::manifest::{MANIFEST, Manifest, ValidLoss};
use super::run::Run;
use super::save::{self, Writer, folder_name, step_of};
use super::saved::Checkpoint;

/// Which checkpoints stay on disk after a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// All checkpoints.
    #[default]
    All,
    /// The newest checkpoints, and the one with the lowest loss on held-out text; others are deleted once a new one
    /// is complete.
    Newest(NonZeroUsize),
}

/// The newest checkpoint whose files are all intact. See [`Run::latest_intact`].
#[derive(Debug)]
pub struct Intact {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Errors of newer checkpoints that were skipped, newest first.
    pub passed_over: Vec<CheckpointError>,
}

impl Run {
    /// Saves the checkpoint of `step` atomically; `fill` writes its files.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotSaved`] with the first failure, or [`CheckpointError::Weights`] if the data to be saved
    /// cannot be read; earlier checkpoints are unchanged.
    pub fn save(
        &self,
        step: u64,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), CheckpointError>,
    ) -> Result<Checkpoint, CheckpointError> {
        let folder = self.checkpoints_path();
        let manifest = self
            .beside()
            .and_then(|beside| save::save(&self.disk, &folder, step, beside, fill))
            .map_err(|source| match source {
                // not a matter of disk space
                CheckpointError::Weights(error) => CheckpointError::Weights(error),
                source => CheckpointError::NotSaved {
                    step,
                    earlier: self.newest().ok().flatten().map(|newest| newest.step()),
                    source: Box::new(source),
                },
            })?;
        let checkpoint = Checkpoint::new(folder.join(folder_name(step)), manifest);
        self.delete_old(step);
        Ok(checkpoint)
    }

    /// Deletes the checkpoints that [`Keep`] does not keep. A failed deletion is tried again after the next save.
    fn delete_old(&self, saved: u64) {
        let Keep::Newest(count) = self.keep else {
            return;
        };
        let steps = self.steps().unwrap_or_default();
        let best = self.best(&steps);
        let old = steps.iter().rev().filter(|&&step| step != saved);
        for &step in old
            .skip(count.get() - 1)
            .filter(|step| !best.contains(step))
        {
            if let Err(error) = save::delete(&self.disk, &self.checkpoints_path(), step) {
                tracing::warn!("{error}; an old checkpoint stays");
            }
        }
    }

    /// Steps of the checkpoints with the lowest loss on held-out text, one for each text that was measured.
    fn best(&self, steps: &[u64]) -> Vec<u64> {
        let mut best: Vec<(ValidLoss, u64)> = Vec::new();
        for &step in steps {
            // unreadable checkpoints are not kept
            let Ok(Some(checkpoint)) = self.checkpoint(step) else {
                continue;
            };
            let Some(valid) = &checkpoint.manifest().valid else {
                continue;
            };
            match best.iter_mut().find(|(other, _)| other.on == valid.on) {
                Some(known) if valid.loss <= known.0.loss => *known = (valid.clone(), step),
                Some(_) => {}
                None => best.push((valid.clone(), step)),
            }
        }
        best.into_iter().map(|(_, step)| step).collect()
    }

    /// Stores the loss on held-out text in the manifest of a complete checkpoint. Does nothing if `step` has no
    /// checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if its manifest is damaged, [`CheckpointError::Io`] if the manifest cannot be
    /// replaced; it is then unchanged.
    pub fn set_valid(&self, step: u64, loss: ValidLoss) -> Result<(), CheckpointError> {
        let Some(checkpoint) = self.checkpoint(step)? else {
            return Ok(());
        };
        let manifest = Manifest {
            valid: Some(loss),
            ..checkpoint.manifest().clone()
        };
        let path = checkpoint.path().join(MANIFEST);
        let bytes = manifest.to_bytes(&path)?;
        self.disk.write_atomically(&path, &bytes)
    }

    /// Deletes the checkpoints after `step`, so that training resumes from it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if one cannot be deleted.
    pub fn rewind(&self, step: u64) -> Result<(), CheckpointError> {
        for later in self.steps()?.into_iter().filter(|&it| it > step) {
            save::delete(&self.disk, &self.checkpoints_path(), later)?;
        }
        Ok(())
    }

    /// Steps of all checkpoint folders, oldest first.
    pub(super) fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let path = self.checkpoints_path();
        let mut steps: Vec<u64> = fs::read_dir(&path)
            .map_err(io_error("read", &path))?
            .flatten()
            .filter_map(|entry| step_of(entry.file_name().to_str()?))
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The checkpoint of `step`, if there is one. Its files are not verified.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if its manifest is damaged.
    pub fn checkpoint(&self, step: u64) -> Result<Option<Checkpoint>, CheckpointError> {
        let path = self.checkpoints_path().join(folder_name(step));
        Checkpoint::open(path, step)
    }

    /// All checkpoints, oldest first. Their files are not verified.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if a manifest is damaged.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointError> {
        let steps = self.steps()?.into_iter();
        steps
            .filter_map(|step| self.checkpoint(step).transpose())
            .collect()
    }

    /// The newest checkpoint, without verifying its files, which is fast. Call [`Checkpoint::verify_file`] on each
    /// file that is needed.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if its manifest is damaged.
    pub fn newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let mut steps = self.steps()?.into_iter().rev();
        steps
            .find_map(|step| self.checkpoint(step).transpose())
            .transpose()
    }

    /// The newest checkpoint, after verifying the digests of all its files and of the run's own files. `None` if none
    /// was saved.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Damaged`] if a file of the checkpoint is damaged (see [`Run::latest_intact`]),
    /// [`CheckpointError::Changed`] if a file of the run has changed.
    pub fn latest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let newest = self.newest()?;
        if let Some(checkpoint) = &newest {
            checkpoint.verify()?;
            self.verify_beside(checkpoint)?;
        }
        Ok(newest)
    }

    /// The newest intact checkpoint, with the errors of newer, damaged ones.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if the folder cannot be read; the first [`CheckpointError::Damaged`] if
    /// there are checkpoints and all are damaged.
    pub fn latest_intact(&self) -> Result<Option<Intact>, CheckpointError> {
        let mut passed_over = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let verified = self
                .checkpoint(step)
                .and_then(|found| found.map_or(Ok(None), |it| it.verify().map(|()| Some(it))));
            match verified {
                Ok(Some(checkpoint)) => {
                    return Ok(Some(Intact {
                        checkpoint,
                        passed_over,
                    }));
                }
                Ok(None) => {}
                Err(error) => passed_over.push(error),
            }
        }
        match passed_over.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::Damage;

    fn new_run(path: &Path) -> Run {
        Run::create(path, &serde_json::json!({"seed": 7}), None).unwrap()
    }

    fn save(run: &Run, step: u64) {
        run.save(step, |writer| writer.json("state.json", &step))
            .unwrap();
    }

    fn steps(run: &Run) -> Vec<u64> {
        let checkpoints = run.checkpoints().unwrap();
        checkpoints.iter().map(Checkpoint::step).collect()
    }

    #[test]
    fn only_the_newest_checkpoints_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        for step in [1, 2, 3] {
            save(&run, step);
        }
        assert_eq!(steps(&run), [1, 2, 3]);

        let run = run.with_keep(Keep::Newest(2.try_into().unwrap()));
        save(&run, 4);
        assert_eq!(steps(&run), [3, 4]);
        // the last saved checkpoint is kept, even if later steps exist
        save(&run, 2);
        assert_eq!(steps(&run), [2, 4]);
    }

    #[test]
    fn the_checkpoint_that_is_best_on_held_out_text_stays() {
        let folder = tempfile::tempdir().unwrap();
        let run =
            new_run(&folder.path().join("run")).with_keep(Keep::Newest(1.try_into().unwrap()));
        let valid = |loss, on: &str| ValidLoss {
            loss,
            on: on.into(),
        };
        let save = |step, loss: Option<ValidLoss>| {
            let fill = |writer: &mut Writer<'_>| {
                loss.into_iter().for_each(|loss| writer.valid(loss));
                writer.json("state.json", &step)
            };
            run.save(step, fill).unwrap();
        };
        save(1, Some(valid(3.0, "a")));
        save(2, Some(valid(2.0, "a")));
        save(3, None);
        assert_eq!(steps(&run), [2, 3]);
        save(4, Some(valid(2.5, "a")));
        assert_eq!(steps(&run), [2, 4]);
        // losses on other text are not compared
        save(5, Some(valid(9.0, "b")));
        assert_eq!(steps(&run), [2, 5]);
        save(6, None);
        assert_eq!(steps(&run), [2, 5, 6]);
        // evaluated after saving
        run.set_valid(6, valid(1.0, "a")).unwrap();
        run.set_valid(77, valid(0.0, "a")).unwrap();
        save(7, None);
        assert_eq!(steps(&run), [5, 6, 7]);
        run.latest().unwrap().unwrap();
    }

    #[test]
    fn a_run_goes_on_with_the_experiment_of_its_newest_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        let seed = |run: &Run| run.config::<serde_json::Value>().unwrap()["seed"].clone();
        save(&run, 1);
        assert_eq!(seed(&run), 7);
        let later = serde_json::json!({"seed": 8});
        run.save(2, |writer| writer.json("config.json", &later))
            .unwrap();
        assert_eq!(seed(&run), 8);
        let first = run.checkpoint(1).unwrap();
        let first = run.config_at::<serde_json::Value>(first.as_ref());
        assert_eq!(first.unwrap()["seed"], 7);

        let path = run.checkpoints_path().join("step-0000002/config.json");
        fs::write(path, "{\n  \"seed\": 9\n}\n").unwrap();
        let edited = run.config::<serde_json::Value>().unwrap_err();
        assert!(edited.to_string().contains("is damaged"), "{edited}");
    }

    #[test]
    fn training_that_goes_on_from_a_step_forgets_the_later_ones() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        for step in [1, 2, 3] {
            save(&run, step);
        }
        run.rewind(1).unwrap();
        assert_eq!(steps(&run), [1]);
    }

    #[test]
    fn a_damaged_checkpoint_is_named_and_an_earlier_one_found() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        save(&run, 7);
        type Harm = fn(&Path);
        let harms: [(Harm, &str); 6] = [
            (
                |it| fs::write(it.join("state.json"), "9\n").unwrap(),
                "found digest 75d2",
            ),
            (
                |it| fs::write(it.join("state.json"), "").unwrap(),
                "found 0 bytes, expected 2",
            ),
            (
                |it| fs::remove_file(it.join("state.json")).unwrap(),
                "missing, expected 2 bytes",
            ),
            (
                |it| fs::write(it.join("manifest.json"), "{").unwrap(),
                "unreadable manifest (EOF",
            ),
            (
                |it| {
                    let manifest = it.join("manifest.json");
                    let text = fs::read_to_string(&manifest).unwrap();
                    let other = text.replace("\"format\": 1", "\"format\": 2");
                    fs::write(manifest, other).unwrap();
                },
                "layout version 2, expected 1",
            ),
            (
                |it| {
                    let other = it.with_file_name("step-0000007/manifest.json");
                    fs::copy(other, it.join("manifest.json")).unwrap();
                },
                "found step 7, expected 8",
            ),
        ];
        for (harm, reason) in harms {
            save(&run, 8);
            harm(&run.checkpoints_path().join("step-0000008"));

            let message = run.latest().unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
            assert!(message.contains("/step-0000008/"), "{message}");
            let intact = run.latest_intact().unwrap().unwrap();
            assert_eq!(intact.checkpoint.step(), 7);
            assert_eq!(intact.passed_over.len(), 1);
        }
        run.rewind(7).unwrap();
        fs::write(run.checkpoints_path().join("step-0000007/state.json"), "0").unwrap();
        assert!(matches!(
            run.latest_intact(),
            Err(CheckpointError::Damaged {
                damage: Damage::Size { .. },
                ..
            })
        ));
    }

    #[test]
    fn a_folder_without_manifest_is_a_damaged_checkpoint_and_never_none() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        assert_eq!(run.latest().unwrap(), None);
        let lose = |step: u64| {
            let folder = run.checkpoints_path().join(folder_name(step));
            fs::remove_file(folder.join("manifest.json")).unwrap();
        };
        let refused = || {
            let [newest, latest] = [run.newest(), run.latest()].map(|it| it.unwrap_err());
            assert_eq!(newest.to_string(), latest.to_string());
            latest.to_string()
        };
        save(&run, 1);
        lose(1);
        let message = refused();
        assert!(message.contains("step-0000001/manifest.json is damaged: the file is missing"));
        assert!(message.ends_with("there is no earlier checkpoint that is whole"));

        for step in [1, 2, 3] {
            save(&run, step);
        }
        lose(3);
        let to_go_on = |step| format!("delete that step's folder to go on from step {step}");
        assert!(refused().ends_with(&to_go_on(2)), "{}", refused());
        // following the advice leads to the next older step
        fs::write(run.checkpoints_path().join("step-0000002/state.json"), "").unwrap();
        assert!(refused().ends_with(&to_go_on(1)), "{}", refused());
        save(&run, 3);
        assert_eq!(run.latest().unwrap().unwrap().step(), 3);
    }

    #[test]
    fn a_file_that_a_checkpoint_lacks_is_named_with_those_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder.path().join("run"));
        save(&run, 1);
        let checkpoint = run.latest().unwrap().unwrap();
        let message = checkpoint.bytes("model.bin").unwrap_err().to_string();
        assert!(
            message.ends_with("has no file `model.bin`, it has: state.json"),
            "{message}"
        );
    }
}
