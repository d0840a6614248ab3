//! `export`: a model for other engines.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::interop::gguf::{self, GgmlType, GgufOptions};
use darkhorse_genesis::interop::hugging_face::{
    Decoding, HfConfig, ModelCard, ParameterCounts, ShardedWriter, TokenizerFiles, TrainingFacts,
};
use darkhorse_genesis::interop::{Extras, Outgoing, OutgoingOptions, hf_config, weights_dtype};
use darkhorse_genesis::model::ModelConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use indicatif::{ProgressBar, ProgressStyle};
use safetensors::Dtype;

use crate::args::memory_bytes;
use crate::failure::{Failure, OrInput};
use crate::stored::Stored;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis export --checkpoint runs/mixed --format hf --out ./mixed
  darkhorse-genesis export --checkpoint runs/mixed --format hf --out ./mixed-legal --domain legal --dtype bf16
  darkhorse-genesis export --checkpoint runs/mixed --format gguf --out mixed.gguf --dtype q8_0

A folder of --format hf is read by transformers, vLLM and SGLang, a file of --format gguf by llama.cpp and Ollama.";

/// Write a model for transformers, vLLM, SGLang, llama.cpp or Ollama
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Model: a run, a Hugging Face folder, a .safetensors or a .gguf file
    #[arg(long, visible_alias = "model", value_name = "PATH")]
    checkpoint: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// Folder to write, or for gguf the file
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Type of the matrices; without it that of the weights
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Fold the prior of a domain into the routers, so that other engines route as with the domain given
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// Largest size of a file of weights
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = memory_bytes)]
    max_shard_size: u64,
    /// Name of the model on its card and in GGUF; without it that of the target
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Other people's formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Hugging Face folder: config.json, safetensors, tokenizer files, model card
    Hf,
    /// One file for llama.cpp and Ollama
    Gguf,
}

/// Types of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// 32 bits
    F32,
    /// 16 bits, as IEEE 754 has them
    F16,
    /// 16 bits with the range of F32
    Bf16,
    /// 8.5 bits, blocks of 32 (gguf only)
    #[value(name = "q8_0")]
    Q8,
}

impl Precision {
    fn of_safetensors(self) -> Result<Dtype, Failure> {
        match self {
            Self::F32 => Ok(Dtype::F32),
            Self::F16 => Ok(Dtype::F16),
            Self::Bf16 => Ok(Dtype::BF16),
            Self::Q8 => Err(Failure::input(
                "`--dtype q8_0` goes with `--format gguf` only",
            )),
        }
    }

    fn of_gguf(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::Bf16,
            Self::Q8 => GgmlType::Q8_0,
        }
    }
}

/// Runs the command.
pub(crate) fn execute(args: &ExportArgs) -> Result<(), Failure> {
    let stored = Stored::open(&args.checkpoint)?;
    stored.refuse_blocks("exported")?;
    let model = &stored.experiment.model;
    let dtype = match (args.format, args.dtype) {
        (Format::Hf, Some(dtype)) => Some(dtype.of_safetensors()?),
        _ => None,
    };
    let own = weights_dtype(stored.weights.as_ref());
    let config = hf_config(
        model,
        Extras {
            token_ids: stored.token_ids.clone(),
            dtype: dtype.or(own),
        },
    )
    .or_input()?;
    let options = OutgoingOptions {
        dtype,
        prior: args.domain.map(|domain| prior(model, domain)).transpose()?,
    };
    let tensors = Outgoing::new(stored.weights.as_ref(), model, config.clone(), options);
    match args.format {
        Format::Hf => hugging_face(args, &stored, &config, &tensors),
        Format::Gguf => write_gguf(args, &stored, &config, &tensors, own),
    }
}

/// What a domain adds to the routers' biases.
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

fn tokenizer_files(stored: &Stored) -> Option<TokenizerFiles> {
    let tokenizer = stored.tokenizer.as_ref()?;
    let template = tokenizer.hf_config().get("chat_template").cloned();
    Some(TokenizerFiles {
        tokenizer_json: tokenizer.json().as_bytes().to_vec(),
        token_ids: stored.token_ids.clone(),
        add_bos_token: stored.token_ids.bos.is_some(),
        model_max_length: stored.experiment.model.max_position_embeddings,
        chat_template: template.and_then(|it| it.as_str().map(str::to_owned)),
        decoding: Decoding::Sample {
            temperature: 0.8,
            top_p: 0.95,
            top_k: None,
        },
    })
}

fn hugging_face(
    args: &ExportArgs,
    stored: &Stored,
    config: &HfConfig,
    tensors: &Outgoing<'_>,
) -> Result<(), Failure> {
    let model = &stored.experiment.model;
    let mut files = vec![(
        "config.json".to_owned(),
        format!("{:#}\n", config.to_json()).into_bytes(),
    )];
    if let Some(tokenizer) = tokenizer_files(stored) {
        files.extend(tokenizer.files(model.vocab_size).or_input()?);
    }
    let card = ModelCard {
        name: target_name(args),
        description: "A Mixture-of-Experts language model trained with Darkhorse Genesis.".into(),
        license: "apache-2.0".into(),
        languages: vec!["en".into()],
        config,
        parameters: ParameterCounts {
            total: model.num_params(),
            active: model.num_active_params(),
        },
        training: TrainingFacts {
            steps: (stored.step > 0).then_some(stored.step),
            ..Default::default()
        },
        gguf: None,
    };
    files.push(("README.md".into(), card.to_markdown().into_bytes()));
    files.extend(domain_biases(stored, config)?);
    let writer = ShardedWriter {
        max_shard_size: args.max_shard_size,
    };
    writer.write(&args.out, tensors, &files).or_input()?;
    println!(
        "{}: load it by AutoModelForCausalLM.from_pretrained(\"{0}\")",
        args.out.display()
    );
    Ok(())
}

/// The routers' biases with each domain's prior folded in, a file per domain.
fn domain_biases(stored: &Stored, config: &HfConfig) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let model = &stored.experiment.model;
    if model.domains.mode == DomainMode::Off || model.moe.is_none() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for domain in Domain::ALL {
        let options = OutgoingOptions {
            dtype: None,
            prior: Some(prior(model, domain)?),
        };
        let tensors = Outgoing::new(stored.weights.as_ref(), model, config.clone(), options);
        let bytes = tensors.biases().or_input()?;
        files.push((format!("domain_bias/{domain}.safetensors"), bytes));
    }
    Ok(files)
}

fn write_gguf(
    args: &ExportArgs,
    stored: &Stored,
    config: &HfConfig,
    tensors: &Outgoing<'_>,
    own: Option<Dtype>,
) -> Result<(), Failure> {
    let own = match own {
        Some(Dtype::F16) => Precision::F16,
        Some(Dtype::BF16) => Precision::Bf16,
        _ => Precision::F32,
    };
    let tokenizer = tokenizer_files(stored)
        .map(|files| gguf_tokenizer(&files))
        .transpose()?;
    let style = "{bar:40} {pos}/{len} tensors, {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    let mut progress = |at: gguf::GgufProgress<'_>| {
        bar.set_length(at.total as u64);
        bar.set_position(at.done as u64);
    };
    let name = target_name(args);
    let written = gguf::write(
        gguf::HfModel {
            path: Path::new(&args.checkpoint),
            config: &config.to_json(),
            tokenizer: tokenizer.as_ref(),
            tensors,
        },
        GgufOptions {
            dtype: args.dtype.unwrap_or(own).of_gguf(),
            name: &name,
            progress: &mut progress,
        },
        &args.out,
    );
    bar.finish_and_clear();
    written.or_input()?;
    println!("{}: run it by `llama-cli -m {0}`", args.out.display());
    Ok(())
}

/// The same for the writer of GGUF.
fn gguf_tokenizer(files: &TokenizerFiles) -> Result<gguf::TokenizerFiles, Failure> {
    let mut config = serde_json::Map::new();
    let json: serde_json::Value = serde_json::from_slice(&files.tokenizer_json).or_input()?;
    let content = |id: Option<u32>| {
        let added = json["added_tokens"].as_array()?;
        let token = added
            .iter()
            .find(|it| it["id"].as_u64() == id.map(u64::from))?;
        Some(token["content"].clone())
    };
    for (key, id) in [
        ("bos_token", files.token_ids.bos),
        ("eos_token", files.token_ids.eos.first().copied()),
        ("pad_token", files.token_ids.pad),
    ] {
        if let Some(content) = content(id) {
            config.insert(key.into(), content);
        }
    }
    config.insert("add_bos_token".into(), files.add_bos_token.into());
    Ok(gguf::TokenizerFiles {
        tokenizer: json,
        config: Some(config.into()),
        chat_template: files.chat_template.clone(),
    })
}
