//! An existing model as the start of a new run.

use std::path::Path;

use crate::config::{Experiment, TokenizerConfig};
use crate::model::CausalLm;
use crate::model::routing::domain::{DomainMode, PRIOR};
use crate::model::weights::{self, Replaced};
use crate::run::Draft;
use crate::run::Given;
use crate::tokenizer::Tokenizer;
use burn::backend::Autodiff;
use darkhorse_backends::select::{Device, Selected};

use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::stored::Stored;

/// An existing model with the tokenizer for it.
pub(super) struct Start {
    stored: Stored,
    tokenizer: Tokenizer,
}

impl Start {
    /// Starts from a model; `tokenizer` replaces its own.
    pub(super) fn of(stored: Stored, tokenizer: Option<&Path>) -> Result<Self, Failure> {
        let stored = stored.with_tokenizer(tokenizer)?;
        stored.check_tokenizer(0)?;
        let Some(tokenizer) = stored.tokenizer.readable()?.cloned() else {
            return Err(Failure::input(format!(
                "{} has no tokenizer: name one by `--tokenizer FILE`",
                stored.weights.path().display()
            )));
        };
        Ok(Self { stored, tokenizer })
    }

    /// The run's experiment, or defaults around another format's model. The biases are balanced already, so their
    /// fast start is turned off.
    pub(super) fn experiment(&self) -> Experiment {
        let mut experiment = self.stored.experiment.clone();
        experiment.training.bias_update_start = 0.0;
        experiment.data.day = None;
        experiment
    }

    /// Leaves routers without a bias as they are while adapters are trained: other programs have no place for one.
    pub(super) fn keep_unbalanced(&self, experiment: &mut Experiment) -> Result<(), Failure> {
        let moe = experiment.model.moe.as_ref();
        let may = moe.is_some_and(|moe| moe.router.null_experts == 0);
        if may && experiment.training.lora.is_some() && !self.is_balanced()? {
            experiment.training.bias_update_speed = 0.0;
        }
        Ok(())
    }

    /// Whether some router has been balanced by a bias.
    fn is_balanced(&self) -> Result<bool, Failure> {
        let weights = self.stored.weights.as_ref();
        let names = weights.names().into_iter();
        for name in names.filter(|name| name.ends_with("e_score_correction_bias")) {
            let bias = weights.data(&name).or_input()?;
            if bias.iter::<f32>().any(|value| value != 0.0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the text of a run that starts from these weights.
    pub(super) fn draft(
        &self,
        experiment: Experiment,
        folder: &Path,
        cache: &Path,
    ) -> Result<Draft, Failure> {
        let experiment = Experiment {
            tokenizer: TokenizerConfig::File(folder.join("tokenizer.json")),
            ..experiment
        };
        let given = Given {
            tokenizer: self.tokenizer.clone(),
            origin: serde_json::to_value(&self.stored.origin)?,
        };
        Draft::open(experiment, Some(given), cache, notice::progress()).or_input()
    }

    /// Loads the weights into the model of `experiment`, whose domain settings may differ.
    pub(super) fn model(
        &self,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<CausalLm<Autodiff<Selected>>, Failure> {
        let config = &experiment.model;
        let model = CausalLm::init(config, experiment.training.seed, device);
        let moe = config.moe.as_ref();
        let prior = moe.filter(|_| config.domains.mode != DomainMode::Off);
        let prior = prior.map(|moe| config.domains.table(moe));
        let source = Replaced::new(self.stored.weights.as_ref(), PRIOR, prior);
        weights::load(model, &source).or_input()
    }
}
