//! Selection of the model and the training length, as given or to fit the data.

use std::path::PathBuf;

use crate::config::memory::{Bytes, Purpose};
use crate::config::{Experiment, PRESETS, fit};
use crate::data::{DataError, Source};
use crate::run::Draft;
use crate::training::TrainingConfig;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::failure::{Failure, OrInput};

/// Name of the preset that stands for an automatic choice.
const AUTO: &str = "auto";
/// Presets for the automatic choice, smallest first.
const CANDIDATES: [&str; 5] = ["tiny", "default", "1b", "3b", "5b"];
/// Training tokens per active parameter (Chinchilla, <https://arxiv.org/abs/2203.15556>).
const TOKENS_PER_PARAM: u64 = 20;
/// Largest number of epochs at which repeated text teaches almost as well as new text
/// (<https://arxiv.org/abs/2305.16264>).
const MOST_EPOCHS: u64 = 4;
/// Approximate UTF-8 bytes per token.
const BYTES_PER_TOKEN: u64 = 4;
/// Bytes of text that are read to estimate the amount of text in the files.
const PROBE_BYTES: u64 = 16 << 20;

/// The choice of an experiment.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// Preset, by its size; auto: preset and steps that fit the data [default: auto, and tiny without --data]
    #[arg(long, value_name = "PRESET", value_parser = PossibleValuesParser::new([&[AUTO][..], &PRESETS].concat()), ignore_case = true)]
    pub(super) params: Option<String>,
    /// Experiment of your own, a JSON file as in configs/
    #[arg(long, value_name = "FILE", conflicts_with = "params")]
    pub(super) config: Option<PathBuf>,
}

/// A preset that was chosen automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) preset: &'static str,
    /// Memory in bytes, if a larger preset would have fit the data but not this memory.
    memory: Option<u64>,
}

impl ModelArgs {
    /// The named preset or file.
    pub(super) fn named(&self) -> Option<String> {
        let preset = self.params.as_ref().map(|name| name.to_lowercase());
        let file = self.config.as_ref();
        file.map(|file| file.display().to_string())
            .or(preset.filter(|name| name != AUTO))
    }

    /// Loads the named preset or file, if there is one.
    pub(super) fn load(&self) -> Result<Option<Experiment>, Failure> {
        match (&self.config, self.named()) {
            (Some(file), _) => Experiment::load(file).or_input().map(Some),
            (None, Some(preset)) => Experiment::preset(&preset).or_input().map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Chosen {
    /// Chooses the preset that fits the data and the memory; `tiny` without files, for the embedded corpus.
    pub(super) fn of(source: Option<&Source>, memory: Option<u64>) -> Result<Self, Failure> {
        match source {
            None => Ok(Self {
                preset: CANDIDATES[0],
                memory: None,
            }),
            Some(source) => {
                Self::by_tokens(text_bytes(source).or_input()? / BYTES_PER_TOKEN, memory)
            }
        }
    }

    fn by_tokens(tokens: u64, memory: Option<u64>) -> Result<Self, Failure> {
        let mut chosen = Self {
            preset: CANDIDATES[0],
            memory: None,
        };
        for preset in &CANDIDATES[1..] {
            let experiment = Experiment::preset(preset)?;
            let wanted = experiment.model.num_active_params() * TOKENS_PER_PARAM;
            if wanted > tokens.saturating_mul(MOST_EPOCHS) {
                break;
            }
            let purpose = purpose(&experiment, None);
            if let Some(memory) = memory
                && fit::fits(&experiment.model, purpose, memory).is_err()
            {
                chosen.memory = Some(memory);
                break;
            }
            chosen.preset = preset;
        }
        Ok(chosen)
    }

    /// Number of steps that fits the data: enough for the model, but not too many epochs.
    pub(super) fn steps(&self, draft: &Draft) -> u64 {
        let (wanted, most) = amounts(draft);
        draft.experiment.training.steps_for(wanted.min(most) as f64)
    }

    /// Reason for the choice, in one line.
    pub(super) fn reason(&self, draft: &Draft) -> String {
        let (wanted, most) = amounts(draft);
        if draft.experiment.data.train.is_empty() {
            return "the embedded corpus was made for it".into();
        }
        if let Some(memory) = self.memory {
            return format!("the largest that can be trained in {}", Bytes(memory));
        }
        let tokens = |tokens: u64| super::announcement::rounded(tokens as f64);
        if wanted <= most {
            format!(
                "its {} active parameters want {} tokens, {TOKENS_PER_PARAM} each",
                tokens(draft.experiment.model.num_active_params()),
                tokens(wanted)
            )
        } else {
            format!(
                "the smallest; {} tokens would suit it, and {MOST_EPOCHS} times the data is {}",
                tokens(wanted),
                tokens(most)
            )
        }
    }
}

/// Number of tokens that the model should be trained on, and the largest number that the data allows.
fn amounts(draft: &Draft) -> (u64, u64) {
    (
        draft.experiment.model.num_active_params() * TOKENS_PER_PARAM,
        draft.texts.epoch_tokens * MOST_EPOCHS,
    )
}

/// The memory use of training an experiment, with gradients for `trained` parameters, or for all.
pub(super) fn purpose(experiment: &Experiment, trained: Option<u64>) -> Purpose {
    let TrainingConfig {
        batch_size,
        seq_len,
        precision,
        ..
    } = experiment.training;
    Purpose::Training {
        dtype: precision.format(),
        tokens: batch_size * seq_len,
        trained,
    }
}

/// UTF-8 bytes of text in the files, counted or, for large files, extrapolated from their beginning.
fn text_bytes(source: &Source) -> Result<u64, DataError> {
    let mut documents = source.documents();
    let mut text = 0;
    while let Some(document) = documents.next() {
        text += document?.text.len() as u64;
        // bytes of a parquet file are counted only when a row group is finished
        let read = documents.bytes_read();
        if text >= PROBE_BYTES && read > 0 {
            let share = source.size_bytes() as f64 / read as f64;
            return Ok((text as f64 * share.max(1.0)) as u64);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(tokens: u64, memory: Option<u64>) -> Chosen {
        Chosen::by_tokens(tokens, memory).unwrap()
    }

    #[test]
    fn the_preset_grows_with_the_data_and_stops_at_the_memory() {
        let active = |preset| {
            let model = Experiment::preset(preset).unwrap().model;
            model.num_active_params()
        };
        assert_eq!(chosen(0, None).preset, "tiny");
        for pair in CANDIDATES.windows(2) {
            // tokens that the larger preset needs in four epochs
            let enough = active(pair[1]) * TOKENS_PER_PARAM / MOST_EPOCHS + 1;
            assert_eq!(chosen(enough - 2, None).preset, pair[0]);
            assert_eq!(chosen(enough, None).preset, pair[1]);
        }
        let small = chosen(u64::MAX, Some(1 << 30));
        assert_eq!((small.preset, small.memory), ("tiny", Some(1 << 30)));
        assert_eq!(chosen(u64::MAX, None).preset, "5b");
    }

    #[test]
    fn the_text_of_small_files_is_counted_and_of_large_ones_estimated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let line = format!("{{\"text\":\"{}\"}}\n", "word ".repeat(20_000));
        std::fs::write(&path, line.repeat(3)).unwrap();
        let measure = || text_bytes(&Source::open(&[&path], Default::default()).unwrap()).unwrap();
        assert_eq!(measure(), 300_000);
        std::fs::write(&path, line.repeat(400)).unwrap();
        let estimate = measure() as f64;
        assert!((estimate / 40e6 - 1.0).abs() < 0.1, "{estimate}");
    }
}
