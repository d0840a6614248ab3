//! Arguments by which all commands name a model and its adapter.

use std::path::{Path, PathBuf};

use clap::Args;
use darkhorse_backends::select::Selected;

use crate::cli::failure::Failure;
use crate::cli::weights::Weights;
use crate::stored::{OpenError, Stored};

/// The LoRA adapter of a model.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AdapterArgs {
    /// Folder of a LoRA adapter as PEFT writes it, for a model that is no run: it is added to the weights [default: the
    /// one in the model's folder, if there is one]
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
}

impl AdapterArgs {
    /// Opens `model`, with the adapter added to its weights.
    pub(crate) fn open(&self, model: &Path) -> Result<Stored, OpenError> {
        Stored::open::<Selected>(model, self.adapter.as_deref())
    }

    /// Name of the model with the adapter, for receipts and studies.
    pub(crate) fn name(&self, model: &Path) -> String {
        let model = model.display();
        match &self.adapter {
            Some(adapter) => format!("{model} with {}", adapter.display()),
            None => model.to_string(),
        }
    }

    /// Refuses an adapter without a model; the error suggests `option` for naming one.
    pub(crate) fn refuse_alone(&self, option: &str) -> Result<(), Failure> {
        match self.adapter {
            None => Ok(()),
            Some(_) => Err(Failure::input(format!(
                "`--adapter` changes a model: name that by `{option} PATH`"
            ))),
        }
    }

    fn weights(&self, model: &Path) -> Weights {
        Weights::Stored {
            path: model.to_owned(),
            adapter: self.adapter.clone(),
        }
    }
}

/// A required model.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// Model: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
}

impl ModelArgs {
    /// Path of the model.
    pub(crate) fn path(&self) -> &Path {
        &self.model
    }

    /// Name of the model with its adapter.
    pub(crate) fn name(&self) -> String {
        self.adapter.name(&self.model)
    }

    /// Opens the model with its adapter.
    pub(crate) fn open(&self) -> Result<Stored, OpenError> {
        self.adapter.open(&self.model)
    }

    /// The model and its adapter as a source of weights, not yet opened.
    pub(crate) fn weights(&self) -> Weights {
        self.adapter.weights(&self.model)
    }
}

/// An optional model; without it, the newest run is used.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelOrNewestArgs {
    /// Model: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file [default: the newest run]
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    model: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

impl ModelOrNewestArgs {
    /// Path and adapter of the model; `None` if no model is named. An adapter without a model is an error.
    pub(crate) fn named(&self) -> Result<Option<(&Path, &AdapterArgs)>, Failure> {
        match &self.model {
            Some(model) => Ok(Some((model, &self.adapter))),
            None => self.adapter.refuse_alone("--model").map(|()| None),
        }
    }

    /// Source of the named model's weights, or the result of `unnamed` if no model is named.
    pub(crate) fn weights(
        &self,
        unnamed: impl FnOnce() -> Result<Weights, Failure>,
    ) -> Result<Weights, Failure> {
        match self.named()? {
            Some((model, adapter)) => Ok(adapter.weights(model)),
            None => unnamed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::Cli;

    #[test]
    fn every_command_that_reads_the_weights_of_a_model_takes_an_adapter_of_it() {
        let mut takers = Vec::new();
        for command in Cli::command().get_subcommands() {
            let has = |long: &str| {
                command
                    .get_arguments()
                    .any(|it| it.get_long() == Some(long))
            };
            let reads = has("model") || has("from") || has("init-from");
            // these read the configuration or the tokenizer, and no weights
            let without = ["plan", "render", "tokenize"].contains(&command.get_name());
            assert_eq!(has("adapter"), reads && !without, "{}", command.get_name());
            takers.extend(has("adapter").then(|| command.get_name().to_owned()));
        }
        assert!(takers.len() >= 13, "{takers:?}");
    }
}
