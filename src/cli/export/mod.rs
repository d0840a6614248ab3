//! `export`: writes a model in the formats of other programs.

mod carved;
mod facts;
mod genesis;
mod gguf;
mod growth;
mod hugging_face;
mod libtorch;
mod peft;

use std::path::PathBuf;

use crate::domain::Domain;
use crate::interop::hugging_face::{HfConfig, TokenizerFiles};
use crate::interop::{Extras, Outgoing, OutgoingOptions, hf_config, ot, weights_dtype};
use crate::model::ModelConfig;
use crate::model::dtype::Dtype;
use crate::model::routing::domain::DomainMode;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::args::memory_bytes;
use crate::cli::dtype::one_of;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model_args::ModelArgs;
use crate::stored::Stored;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis export --model runs/mixed --format hf --out ./mixed
  darkhorse-genesis export --model runs/mixed --format hf --out ./mixed-legal \\
    --domain legal --dtype bf16
  darkhorse-genesis export --model runs/mixed --format gguf --out mixed.gguf --dtype q8_0
  darkhorse-genesis export --model runs/genesis-tiny --format genesis --out tiny.safetensors
  darkhorse-genesis export --model weights.ot --format hf --out ./weights
  darkhorse-genesis export --model runs/tuned --format peft --out ./adapter

A folder of --format hf is read by transformers, vLLM and SGLang, a file of --format gguf by llama.cpp and Ollama. \
--format ot is libtorch's archive of named tensors, read by tch, by torch.jit.load, and by this program if it was \
built with `--features tch`.";

/// Write a model for transformers, vLLM, SGLang, llama.cpp, Ollama or libtorch
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Format to write
    #[arg(long, value_enum)]
    format: Format,
    /// Folder to write; for gguf and genesis a file; for ot either, a file `*.ot` has its config.json beside it
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Element type of the matrices; q8 with gguf only, as q8_0 [default: that of the weights]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(&[Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::Q8]))]
    dtype: Option<Dtype>,
    /// Fold a domain's prior into the routers, so that other engines route as if the domain were given [default:
    /// none]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// Largest size of a file of weights
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = memory_bytes)]
    max_shard_size: u64,
    /// Name of the model on its card and in GGUF [default: that of the target]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Formats of other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Hugging Face folder: config.json, safetensors, tokenizer files, model card
    Hf,
    /// One file for llama.cpp and Ollama
    Gguf,
    /// Checkpoint of the Genesis-152M package: one safetensors file with its configuration
    Genesis,
    /// libtorch's archive of named tensors, with config.json and tokenizer files
    Ot,
    /// LoRA adapters of a run as PEFT's adapter_config.json and adapter_model.safetensors
    Peft,
}

/// safetensors' element type.
fn of_safetensors(dtype: Dtype) -> Result<safetensors::Dtype, Failure> {
    match dtype {
        Dtype::F32 => Ok(safetensors::Dtype::F32),
        Dtype::F16 => Ok(safetensors::Dtype::F16),
        Dtype::Bf16 => Ok(safetensors::Dtype::BF16),
        Dtype::Q8 | Dtype::Q4 => Err(Failure::input(format!(
            "`--dtype {}` goes with `--format gguf` only",
            dtype.name()
        ))),
    }
}

/// Runs the command.
pub(crate) fn execute(args: &ExportArgs) -> Result<(), Failure> {
    if args.format == Format::Ot {
        ot::check_available(&args.out).or_input()?;
    }
    let stored = args.model.open()?;
    stored.refuse_blocks("exported")?;
    let stored = growth::settled(stored, args.domain)?;
    let stored = carved::with_equal_gates(stored)?;
    stored.tell_blocks("f32", None);
    let model = &stored.experiment.model;
    let dtype = match (args.format, args.dtype) {
        (Format::Hf | Format::Ot, Some(dtype)) => Some(of_safetensors(dtype)?),
        _ => None,
    };
    if args.format == Format::Genesis {
        return genesis::write(args, &stored);
    }
    let own = weights_dtype(stored.weights.as_ref());
    let config = hf_config(
        model,
        Extras {
            token_ids: stored.origin.token_ids.clone(),
            dtype: dtype.or(own),
        },
    )
    .or_input()?;
    if args.format == Format::Peft {
        return peft::write(args, &stored, &config);
    }
    let options = OutgoingOptions {
        dtype,
        prior: args.domain.map(|domain| prior(model, domain)).transpose()?,
        absent_copies: stored.origin.absent_copies.clone(),
    };
    let tensors = Outgoing::new(stored.weights.as_ref(), &config, options).or_input()?;
    match args.format {
        Format::Hf => hugging_face::write(args, &stored, &config, &tensors),
        Format::Gguf => gguf::write(args, &stored, &config, &tensors, own),
        Format::Ot => libtorch::write(args, &stored, &config, &tensors),
        Format::Genesis | Format::Peft => unreachable!("it was written above"),
    }
}

/// Prior that a domain adds to the routers' scores.
fn prior(model: &ModelConfig, domain: Domain) -> Result<Vec<f32>, Failure> {
    let Some(moe) = &model.moe else {
        return Err(Failure::input(
            "`--domain` is for models that route: this one is dense",
        ));
    };
    if model.domains.mode == DomainMode::Off {
        return Err(Failure::input(
            "`--domain` is for models that were trained with domains: `domains.mode` of this one is `off`",
        ));
    }
    let experts = moe.n_routed_experts;
    let row = domain.index() * experts;
    Ok(model.domains.prior(experts)[row..row + experts].to_vec())
}

fn target_name(args: &ExportArgs) -> String {
    let stem = args.out.file_stem().unwrap_or_default();
    let own = || stem.to_string_lossy().into_owned();
    args.name.clone().unwrap_or_else(own)
}

/// `config.json` and the tokenizer's files, with their contents.
fn config_and_tokenizer(
    stored: &Stored,
    config: &HfConfig,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let json = format!("{:#}\n", config.to_json()).into_bytes();
    let mut files = vec![("config.json".to_owned(), json)];
    if let Some(tokenizer) = tokenizer_files(stored)? {
        let vocab_size = stored.experiment.model.vocab_size;
        files.extend(tokenizer.files(vocab_size).or_input()?);
    }
    Ok(files)
}

fn tokenizer_files(stored: &Stored) -> Result<Option<TokenizerFiles>, Failure> {
    let Some(tokenizer) = stored.tokenizer.readable()? else {
        return Ok(None);
    };
    let mut config = tokenizer.hf_config();
    let templates = tokenizer.chat_template_files();
    let mut templates: Vec<_> = templates
        .map(|(name, text)| (name, text.to_owned()))
        .collect();
    if templates.is_empty()
        && let Some(template) = config.get("chat_template").and_then(Value::as_str)
    {
        templates.push(("chat_template.jinja".into(), template.into()));
    }
    let wrapping = tokenizer.wrapping();
    let is_only = |ids: &[u32], id: Option<u32>| id.is_some_and(|id| ids == [id]);
    // special tokens without a row in the model are left out
    let rows = stored.experiment.model.vocab_size;
    for (key, id) in [
        ("bos_token", tokenizer.bos_id()),
        ("eos_token", tokenizer.eos_id()),
        ("pad_token", tokenizer.pad_id()),
    ] {
        if id.is_some_and(|id| id as usize >= rows) {
            config.insert(key.into(), Value::Null);
        }
    }
    Ok(Some(TokenizerFiles {
        tokenizer_json: tokenizer.json().as_bytes().to_vec(),
        config,
        add_bos_token: is_only(&wrapping.before, tokenizer.bos_id()),
        add_eos_token: is_only(&wrapping.after, tokenizer.eos_id()),
        token_ids: stored.origin.token_ids.clone(),
        model_max_length: stored.experiment.model.max_position_embeddings,
        chat_templates: templates,
        generation: stored.origin.generation.clone().unwrap_or_default(),
    }))
}
