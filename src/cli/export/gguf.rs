//! A file for llama.cpp and Ollama.

use std::path::Path;

use crate::interop::Outgoing;
use crate::interop::gguf::{self, GgufOptions};
use crate::interop::hugging_face::{HfConfig, HfRope, HfRopeScaling, TokenizerFiles};
use indicatif::{ProgressBar, ProgressStyle};
use safetensors::Dtype;

use super::{ExportArgs, Precision, target_name, tokenizer_files};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::stored::Stored;

/// Writes the file.
pub(super) fn write(
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
    let rope = &config.decoder().rope;
    println!(
        "{}: run it by `llama-cli -m {0}{}`",
        args.out.display(),
        betas(rope)
    );
    Ok(())
}

/// llama.cpp does not read the file's where they are not its own.
fn betas(rope: &HfRope) -> String {
    match &rope.scaling {
        Some(HfRopeScaling::Yarn(yarn)) if (yarn.beta_fast, yarn.beta_slow) != (32.0, 1.0) => {
            let (fast, slow) = (yarn.beta_fast, yarn.beta_slow);
            format!(" --yarn-beta-fast {fast} --yarn-beta-slow {slow}")
        }
        _ => String::new(),
    }
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
