//! Where the files of a task's splits are: named in the task, or in the layout of Hugging Face's hub.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::{DataFiles, TaskConfig};
use super::error::TaskError;
use super::records::Records;

/// Finds and reads the splits of a task.
pub(super) struct Dataset<'a> {
    pub(super) config: &'a TaskConfig,
    /// Folder of data sets as the hub lays them out.
    pub(super) hub: Option<&'a Path>,
}

impl Dataset<'_> {
    /// Reads a split.
    pub(super) fn split(&self, split: &str) -> Result<Records, TaskError> {
        let found = match self.config.dataset_path.as_str() {
            "json" | "parquet" => self.named(split)?,
            "csv" | "text" | "arrow" => {
                let path = &self.config.dataset_path;
                return Err(self.fault(format!(
                    "`dataset_path` is `{path}`, expected `json`, `parquet`, or a data set in `--task-data`"
                )));
            }
            _ => self.of_hub(split)?,
        };
        let records = Records::read(&found, self.config.dataset_kwargs.field.as_deref())?;
        if records.records.is_empty() {
            return Err(self.fault(format!("the split `{split}` has no records")));
        }
        Ok(records)
    }

    fn fault(&self, reason: String) -> TaskError {
        TaskError::Task {
            task: self.config.task.clone(),
            reason,
        }
    }

    /// The files that the task names, beside the task file or from the current folder.
    fn named(&self, split: &str) -> Result<Vec<PathBuf>, TaskError> {
        let texts = match &self.config.dataset_kwargs.data_files {
            None => return Err(self.fault("`dataset_kwargs.data_files` is missing".into())),
            Some(DataFiles::Train(texts)) if split == "train" => texts,
            Some(DataFiles::Train(_)) => {
                return Err(self.fault(format!(
                    "there is no split `{split}`: `data_files` without splits are the split `train`"
                )));
            }
            Some(DataFiles::BySplit(splits)) => splits.get(split).ok_or_else(|| {
                let known = splits.keys().cloned().collect::<Vec<_>>().join("`, `");
                self.fault(format!(
                    "there is no split `{split}` in `data_files`, which has `{known}`"
                ))
            })?,
        };
        let folder = self.config.folder.as_deref();
        let place = |text: String| {
            let beside = folder.map(|folder| folder.join(&text));
            beside
                .filter(|path| path.is_file())
                .unwrap_or_else(|| text.into())
        };
        Ok(texts.list().into_iter().map(place).collect())
    }

    /// The parquet files of a split, such as `DIR/ai2_arc/ARC-Easy/test-00000-of-00001.parquet`.
    fn of_hub(&self, split: &str) -> Result<Vec<PathBuf>, TaskError> {
        let path = &self.config.dataset_path;
        let Some(hub) = self.hub else {
            return Err(self.fault(format!(
                "its data set is `{path}` of Hugging Face's hub: give the folder that holds it by `--task-data DIR`"
            )));
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        let folders = [hub.join(path), hub.join(name)];
        let subset = self.config.dataset_name.as_deref();
        for folder in &folders {
            let parts = [
                subset,
                Some("data"),
                Some("default"),
                Some("plain_text"),
                None,
            ];
            for part in parts.into_iter().skip(usize::from(subset.is_none())) {
                let folder = part.map_or(folder.clone(), |part| folder.join(part));
                let files = parts_of(&folder, split);
                if !files.is_empty() {
                    return Ok(files);
                }
            }
        }
        let subset = subset.unwrap_or("data");
        Err(self.fault(format!(
            "there is no `{}`: `--task-data` takes a folder of data sets as they lie on Hugging Face's hub, in parquet",
            folders[1].join(subset).join(format!("{split}-00000-of-00001.parquet")).display()
        )))
    }
}

/// Files of a folder with the split as a word of their name, such as `SPLIT-00000-of-00001.parquet` or
/// `piqa_SPLIT.parquet`, or those in the folder `SPLIT`, in order. Words end as they do for the `datasets` library.
fn parts_of(folder: &Path, split: &str) -> Vec<PathBuf> {
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|it| it == "parquet"))
            .collect();
        paths.sort();
        paths
    };
    let of_split = list(folder).into_iter().filter(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_end = |c: char| "-._ ".contains(c) || c.is_ascii_digit();
        stem.split(is_end).any(|word| word == split)
    });
    let of_split: Vec<PathBuf> = of_split.collect();
    if of_split.is_empty() {
        list(&folder.join(split))
    } else {
        of_split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_a_word_of_the_name_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "piqa_test.parquet",
            "piqa_validation.parquet",
            "test-00001-of-00002.parquet",
            "test-00000-of-00002.parquet",
            "test.json",
            "latest.parquet",
            "testing.parquet",
            "train/b.parquet",
            "train/a.parquet",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let parts = |split: &str| -> Vec<String> {
            let parts = parts_of(folder.path(), split).into_iter();
            let name = |path: PathBuf| {
                path.strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string()
            };
            parts.map(name).collect()
        };
        assert_eq!(
            parts("test"),
            [
                "piqa_test.parquet",
                "test-00000-of-00002.parquet",
                "test-00001-of-00002.parquet"
            ]
        );
        assert_eq!(parts("validation"), ["piqa_validation.parquet"]);
        assert_eq!(parts("train"), ["train/a.parquet", "train/b.parquet"]);
        assert!(parts("dev").is_empty());
    }
}
