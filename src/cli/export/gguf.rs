//! Export as a GGUF file for llama.cpp and Ollama.

use std::path::Path;

use crate::interop::Outgoing;
use crate::interop::gguf::{self, GgufOptions, OutType};
use crate::interop::hugging_face::{HfConfig, TokenizerFiles};
use crate::model::dtype::Dtype;
use crate::model::rope::{RopeConfig, RopeScaling};
use indicatif::ProgressStyle;
use serde_json::json;

use super::{ExportArgs, target_name, tokenizer_files};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::cli::output;
use crate::stored::Stored;

/// GGUF type for an element type.
fn out_type(dtype: Dtype) -> Result<OutType, Failure> {
    match dtype {
        Dtype::F32 => Ok(OutType::F32),
        Dtype::F16 => Ok(OutType::F16),
        Dtype::Bf16 => Ok(OutType::Bf16),
        Dtype::Q8 => Ok(OutType::Q8_0),
        Dtype::Q4 => Err(Failure::input(
            "`--dtype q4` cannot be written to a GGUF file",
        )),
    }
}

/// Writes the GGUF file.
pub(super) fn write(
    args: &ExportArgs,
    stored: &Stored,
    config: &HfConfig,
    tensors: &Outgoing<'_>,
    own: Option<safetensors::Dtype>,
) -> Result<(), Failure> {
    let own = match own {
        Some(safetensors::Dtype::F16) => Dtype::F16,
        Some(safetensors::Dtype::BF16) => Dtype::Bf16,
        _ => Dtype::F32,
    };
    let out_type = out_type(args.dtype.unwrap_or(own))?;
    let tokenizer = tokenizer_files(stored)?
        .map(|files| gguf_tokenizer(&files))
        .transpose()?;
    // GGUF has no other place for end tokens that only generation_config.json names
    let mut with_ends = config.clone();
    with_ends.token_ids.eos = stored.origin.stop_ids();
    let style = "{bar:40} {pos}/{len} tensors, {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = notice::bar(0).with_style(style);
    let mut progress = |at: gguf::GgufProgress<'_>| {
        bar.set_length(at.total as u64);
        bar.set_position(at.done as u64);
    };
    let name = target_name(args);
    let written = gguf::write(
        gguf::HfModel {
            path: args.model.path(),
            config: &with_ends,
            tokenizer: tokenizer.as_ref(),
            tensors,
        },
        GgufOptions {
            dtype: out_type,
            name: &name,
            progress: &mut progress,
        },
        &args.out,
    );
    bar.finish_and_clear();
    written.or_input()?;
    output::line(format_args!(
        "{}: run it by `llama-cli -m {0}{}`",
        args.out.display(),
        betas(&config.model.rope)
    ))
}

/// Command-line options of llama.cpp for YaRN betas that it does not read from the file.
fn betas(rope: &RopeConfig) -> String {
    match &rope.rope_scaling {
        Some(RopeScaling::Yarn(yarn)) if (yarn.beta_fast, yarn.beta_slow) != (32.0, 1.0) => {
            let (fast, slow) = (yarn.beta_fast, yarn.beta_slow);
            format!(" --yarn-beta-fast {fast} --yarn-beta-slow {slow}")
        }
        _ => String::new(),
    }
}

/// The tokenizer's files in the form that the GGUF writer takes.
fn gguf_tokenizer(files: &TokenizerFiles) -> Result<gguf::TokenizerFiles, Failure> {
    let mut config = files.config.clone();
    config.insert("add_bos_token".into(), files.add_bos_token.into());
    config.insert("add_eos_token".into(), files.add_eos_token.into());
    let is_default = |name: &String| name == "chat_template.jinja";
    let templates = files.chat_templates.iter();
    let (default, others): (Vec<_>, Vec<_>) = templates.partition(|(name, _)| is_default(name));
    let mut default = default.first().map(|(_, text)| text.clone());
    if !others.is_empty() {
        let named = |name: &str, text: &str| json!({"name": name, "template": text});
        let stem = |file: &String| {
            Path::new(file)
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let all = default
            .take()
            .map(|text| named("default", &text))
            .into_iter();
        let all = all.chain(others.iter().map(|(file, text)| named(&stem(file), text)));
        config.insert("chat_template".into(), all.collect());
    }
    Ok(gguf::TokenizerFiles {
        tokenizer: serde_json::from_slice(&files.tokenizer_json).or_input()?,
        config: Some(config.into()),
        chat_template: default,
    })
}
