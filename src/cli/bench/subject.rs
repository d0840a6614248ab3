//! The model and the requests of a benchmark.

use crate::config::memory::Purpose;
use crate::model::dtype::Dtype;
use clap::Args;

use super::measure::Case;
use crate::cli::args::{CacheArgs, DeviceArgs, ExperimentArgs, WeightsArgs};
use crate::cli::batch_aware::BatchAwareArgs;
use crate::cli::device;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelOrNewestArgs;
use crate::cli::weights::Weights;

/// Arguments that select the model and the requests.
#[derive(Debug, Clone, Args)]
pub(super) struct Subject {
    #[command(flatten)]
    experiment: ExperimentArgs,
    #[command(flatten)]
    model: ModelOrNewestArgs,
    /// Measure a model with random weights, of --params or --config
    #[arg(long, conflicts_with = "model")]
    random_weights: bool,
    /// Tokens per prompt; several numbers, separated by commas, are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "128",
          value_parser = clap::value_parser!(u32).range(1..))]
    prompt: Vec<u32>,
    /// Tokens that each request generates
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    new: u32,
    /// Requests at a time; several numbers, separated by commas, are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    pub(super) cache: CacheArgs,
    #[command(flatten)]
    batch_aware: BatchAwareArgs,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

impl Subject {
    fn source(&self) -> Result<Weights, Failure> {
        self.model
            .weights(|| self.experiment.weights(self.random_weights))
    }

    /// All combinations of prompt length and batch size.
    pub(super) fn cases(&self) -> Vec<Case> {
        let of_prompt = |&prompt: &u32| {
            self.batch.iter().map(move |&batch| Case {
                prompt: prompt as usize,
                new: self.new as usize,
                batch: batch as usize,
            })
        };
        self.prompt.iter().flat_map(of_prompt).collect()
    }

    /// Loads the model and checks that the requests fit its context.
    pub(super) fn open(&self) -> Result<Loaded, Failure> {
        darkhorse_backends::memory::keep_freed();
        let weights = self.source()?;
        let held = self.weights.held();
        let longest_prompt = self.prompt.iter().max().copied().unwrap_or(0);
        let longest = longest_prompt as usize + self.new as usize;
        if let Weights::Random(experiment) = &weights {
            let purpose = Purpose::Inference {
                weights: held.unwrap_or(Dtype::F32),
                cache: self.cache.dtype().unwrap_or(Dtype::F32),
                context: longest,
            };
            let device = self.device.device.as_ref();
            device::refuse_what_cannot_fit(&experiment.model, purpose, device)?;
        }
        let mut loaded = Loaded::of_weights(weights, None, held, &self.device.open()?)?;
        let context = loaded.experiment.model.max_position_embeddings;
        if longest > context {
            return Err(Failure::input(format!(
                "prompt and new tokens are {longest} together, but the model's context is {context}: shorten them"
            )));
        }
        loaded.model = self.batch_aware.apply(loaded.model)?;
        Ok(loaded)
    }
}
