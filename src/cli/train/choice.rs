//! Which model is trained, and for how long: as told, or as suits the data.

use std::path::PathBuf;

use crate::config::memory::{Bytes, Purpose};
use crate::config::{Experiment, PRESETS, fit};
use crate::data::{DataError, Source};
use crate::run::Draft;
use crate::training::TrainingConfig;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::failure::{Failure, OrInput};

/// The name that leaves the choice to the data.
const AUTO: &str = "auto";
/// What it chooses among, smallest first.
const CANDIDATES: [&str; 5] = ["tiny", "default", "1b", "3b", "5b"];
/// Tokens that a parameter is worth (Chinchilla, <https://arxiv.org/abs/2203.15556>).
const TOKENS_PER_PARAM: u64 = 20;
/// Repeated text teaches almost as much as new text up to so many epochs (<https://arxiv.org/abs/2305.16264>).
const MOST_EPOCHS: u64 = 4;
/// UTF-8 bytes of a token, about.
const BYTES_PER_TOKEN: u64 = 4;
/// Text that is read to find out how many bytes of text the files hold.
const PROBE_BYTES: u64 = 16 << 20;

/// Which experiment.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// Preset by its size, or auto: the preset and the steps that suit the data [default: auto, and tiny without --data]
    #[arg(long, value_name = "PRESET", value_parser = PossibleValuesParser::new([&[AUTO][..], &PRESETS].concat()), ignore_case = true)]
    pub(super) params: Option<String>,
    /// Experiment of your own, a JSON file as in configs/
    #[arg(long, value_name = "FILE", conflicts_with = "params")]
    pub(super) config: Option<PathBuf>,
}

/// A preset that was chosen for the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) preset: &'static str,
    /// The next larger one would have suited the data, but not this memory.
    memory: Option<u64>,
}

impl ModelArgs {
    /// The preset or the file that was named.
    pub(super) fn named(&self) -> Option<String> {
        let preset = self.params.as_ref().map(|name| name.to_lowercase());
        let file = self.config.as_ref();
        file.map(|file| file.display().to_string())
            .or(preset.filter(|name| name != AUTO))
    }

    /// Reads what was named, if anything was.
    pub(super) fn load(&self) -> Result<Option<Experiment>, Failure> {
        match (&self.config, self.named()) {
            (Some(file), _) => Experiment::load(file).or_input().map(Some),
            (None, Some(preset)) => Experiment::preset(&preset).or_input().map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Chosen {
    /// What suits these files and this memory; without files `tiny`, which the embedded corpus was made for.
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
            let purpose = purpose(&experiment);
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

    /// The steps that suit the data: enough for the model, but not too many epochs.
    pub(super) fn steps(&self, draft: &Draft) -> u64 {
        let (wanted, most) = amounts(draft);
        draft.experiment.training.steps_for(wanted.min(most) as f64)
    }

    /// Why, in one line.
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

/// Tokens that suit the model, and that the data gives.
fn amounts(draft: &Draft) -> (u64, u64) {
    (
        draft.experiment.model.num_active_params() * TOKENS_PER_PARAM,
        draft.texts.epoch_tokens * MOST_EPOCHS,
    )
}

/// What training an experiment takes memory for.
pub(super) fn purpose(experiment: &Experiment) -> Purpose {
    let TrainingConfig {
        batch_size,
        seq_len,
        precision,
        ..
    } = experiment.training;
    Purpose::Training {
        dtype: precision.format(),
        tokens: batch_size * seq_len,
    }
}

/// UTF-8 bytes of text in the files: of all of them, or in proportion to what the first megabytes hold.
fn text_bytes(source: &Source) -> Result<u64, DataError> {
    let mut documents = source.documents();
    let mut text = 0;
    while let Some(document) = documents.next() {
        text += document?.text.len() as u64;
        // of a parquet file nothing counts as read before a group of rows is over
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
            // what the larger one needs, in four epochs
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
