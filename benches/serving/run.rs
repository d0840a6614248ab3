//! A trained run with texts for it.

use darkhorse_backends::select::Selected;
use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::inference::Limits;
use darkhorse_genesis::model::{CausalLm, ModelConfig, weights};
use darkhorse_genesis::run::state::MODEL_FILE;
use darkhorse_genesis::tokenizer::Tokenizer;

use crate::Outcome;

pub(crate) struct Trained {
    pub(crate) model: CausalLm<Selected>,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
}

impl Trained {
    pub(crate) fn open(path: &str) -> Outcome<Self> {
        let run = Run::open(path)?;
        let config = run.config::<Experiment>()?.model;
        let saved = run.newest()?.ok_or("the run has no checkpoint")?;
        let model = CausalLm::init(&config, 0, &Default::default());
        Ok(Self {
            model: weights::load(model, &saved.tensors(MODEL_FILE)?)?,
            tokenizer: Tokenizer::from_file(&run.tokenizer_path())?,
            config,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits::of(&self.config)
    }

    /// Ids of documents in the embedded corpus, each with its opening tokens.
    pub(crate) fn documents(&self, part: &str) -> Outcome<Vec<Vec<u32>>> {
        let path = format!("{}/data/{part}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read_to_string(path)?;
        let ids = |line: &str| -> Outcome<Vec<u32>> {
            let document: serde_json::Value = serde_json::from_str(line)?;
            let text = document["text"].as_str().ok_or("a document has a text")?;
            let mut ids = self.tokenizer.opening(None);
            ids.extend(self.tokenizer.encode(text)?);
            Ok(ids)
        };
        file.lines().map(ids).collect()
    }
}
