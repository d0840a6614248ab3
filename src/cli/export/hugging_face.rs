//! Export as a Hugging Face folder, with a model card and per-domain biases.

use crate::domain::Domain;
use crate::interop::hugging_face::{HfConfig, ModelCard, ParameterCounts, ShardedWriter};
use crate::interop::{Begun, Outgoing, OutgoingOptions};
use crate::model::routing::domain::DomainMode;

use super::facts::training_facts;
use super::{ExportArgs, config_and_tokenizer, prior, target_name};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::output;
use crate::stored::Stored;

/// Writes the folder.
pub(super) fn write(
    args: &ExportArgs,
    stored: &Stored,
    config: &HfConfig,
    tensors: &Outgoing<'_>,
) -> Result<(), Failure> {
    let model = &stored.experiment.model;
    let mut files = config_and_tokenizer(stored, config)?;
    let card = ModelCard {
        name: target_name(args),
        description: description(stored),
        source: stored.origin.card.clone(),
        config,
        parameters: ParameterCounts {
            total: model.num_params(),
            active: model.num_active_params(),
        },
        training: training_facts(stored)?,
        gguf: None,
    };
    files.push(("README.md".into(), card.to_markdown().into_bytes()));
    if tensors.has_biases() {
        files.extend(domain_biases(stored, config)?);
    }
    let writer = ShardedWriter {
        max_shard_size: args.max_shard_size,
    };
    writer.write(&args.out, tensors, &files).or_input()?;
    output::line(format_args!(
        "{}: load it by AutoModelForCausalLM.from_pretrained(\"{0}\")",
        args.out.display()
    ))
}

/// One sentence on the kind and the origin of the model, for its card.
fn description(stored: &Stored) -> String {
    let kind = match stored.experiment.model.moe {
        Some(_) => "Mixture-of-Experts language model",
        None => "dense language model",
    };
    let from = match (stored.step, stored.origin.begun) {
        (0, _) => "in files written by",
        (_, Begun::Here) => "trained with",
        (_, Begun::Elsewhere) => "trained further with",
    };
    format!("A {kind} {from} Darkhorse Genesis.")
}

/// One file per domain with the routers' biases, the domain's prior included.
fn domain_biases(stored: &Stored, config: &HfConfig) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let model = &stored.experiment.model;
    if model.domains.mode == DomainMode::Off || model.moe.is_none() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for domain in Domain::ALL {
        let options = OutgoingOptions {
            prior: Some(prior(model, domain)?),
            ..Default::default()
        };
        let tensors = Outgoing::new(stored.weights.as_ref(), config, options).or_input()?;
        let bytes = tensors.biases().or_input()?;
        files.push((format!("domain_bias/{domain}.safetensors"), bytes));
    }
    Ok(files)
}
