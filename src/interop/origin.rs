//! Facts in a model's files that have no place in our model.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::hugging_face::{FrontMatter, GenerationConfig, HfConfig, TokenIds};
use super::{InteropError, TensorSource, names};

/// Facts kept with an imported model, so that it can be exported as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Special tokens in its `config.json`.
    pub token_ids: TokenIds,
    /// Copies of embedding and head that its multi-token prediction modules lack. Our exports have them all by
    /// default: vLLM and llama.cpp use them, others ignore them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent_copies: BTreeSet<String>,
    /// Content of its `generation_config.json`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationConfig>,
    /// License and languages on its model card.
    #[serde(default, skip_serializing_if = "FrontMatter::is_empty")]
    pub card: FrontMatter,
    /// Where its training began.
    #[serde(default, skip_serializing_if = "Begun::is_elsewhere")]
    pub begun: Begun,
}

/// Where the training of a model began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begun {
    /// In another program, or unknown.
    #[default]
    Elsewhere,
    /// In this program, from random weights.
    Here,
}

impl Begun {
    fn is_elsewhere(&self) -> bool {
        *self == Self::Elsewhere
    }
}

impl Origin {
    pub(super) fn of(config: &HfConfig, tensors: &dyn TensorSource) -> Self {
        let copies = names::mtp_copies(&config.model).into_iter();
        let copies = copies.map(|(copy, _)| copy);
        Self {
            token_ids: config.token_ids.clone(),
            absent_copies: copies.filter(|copy| tensors.info(copy).is_none()).collect(),
            ..Self::default()
        }
    }

    /// Reads the facts in a model folder besides its weights and its `config.json`.
    ///
    /// # Errors
    ///
    /// Those of [`GenerationConfig::read`].
    pub fn read_folder(&mut self, folder: &Path) -> Result<(), InteropError> {
        self.generation = GenerationConfig::read(folder)?;
        self.card = FrontMatter::read(folder);
        Ok(())
    }

    /// Ids that end a text according to any of its files, those of `config.json` first.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.token_ids.eos.clone();
        let generation = self.generation.iter().flat_map(GenerationConfig::eos);
        for id in generation {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// Removes ids beyond the vocabulary.
    pub fn keep_within(&mut self, vocab_size: usize) {
        let is_there = |id: &u32| (*id as usize) < vocab_size;
        let ids = &mut self.token_ids;
        ids.bos = ids.bos.filter(is_there);
        ids.pad = ids.pad.filter(is_there);
        ids.eos.retain(is_there);
        let generation = self.generation.take();
        self.generation = generation.map(|it| it.within(vocab_size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_may_name_an_end_and_the_vocabulary_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("generation_config.json");
        std::fs::write(file, r#"{"eos_token_id": [2, 0, 500]}"#).unwrap();
        let mut origin = Origin {
            token_ids: TokenIds {
                bos: Some(400),
                eos: vec![0, 300],
                pad: Some(1),
            },
            ..Origin::default()
        };
        origin.read_folder(folder.path()).unwrap();
        assert_eq!(origin.stop_ids(), [0, 300, 2, 500]);
        origin.keep_within(300);
        assert_eq!(origin.stop_ids(), [0, 2]);
        assert_eq!(
            (origin.token_ids.bos, origin.token_ids.pad),
            (None, Some(1))
        );
    }

    #[test]
    fn what_older_runs_wrote_is_read() {
        let old = r#"{"token_ids": {"bos": null, "eos": [1], "pad": null}}"#;
        let origin: Origin = serde_json::from_str(old).unwrap();
        assert_eq!(origin.generation, None);
        let written: Origin =
            serde_json::from_str(&serde_json::to_string(&origin).unwrap()).unwrap();
        assert_eq!(written, origin);
    }
}
