//! `chat`: a conversation on the terminal.

use std::path::PathBuf;

use clap::Args;
use darkhorse_backends::awake;
use darkhorse_genesis::inference::{Sampler, SamplingConfig};
use darkhorse_genesis::tokenizer::chat::{Message, Role, Template};

use crate::args::{DeviceArgs, DomainArgs, SamplingArgs, SpeculationArgs, WeightsArgs};
use crate::failure::{Failure, OrInput};
use crate::generate::Reply;
use crate::inference::Weights;
use crate::model::Loaded;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis chat
  darkhorse-genesis chat --model runs/mixed --domain law
  darkhorse-genesis chat --model ./DeepSeek-V3-small --system \"Answer briefly.\" --temperature 0.6";

/// Talk with a model
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    /// Model: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file; without it the newest run
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) domain: DomainArgs,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) speculative: SpeculationArgs,
    /// Tell tokens per second after every answer
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

/// Runs the command.
pub(crate) fn execute(args: &ChatArgs) -> Result<(), Failure> {
    let sampling = args.sampling.config()?;
    chat(args, sampling)
}

/// Talks with what was resolved.
fn chat(args: &ChatArgs, sampling: SamplingConfig) -> Result<(), Failure> {
    let weights = match &args.model {
        Some(path) => Weights::Stored(path.clone()),
        None => Weights::Newest(None),
    };
    let loaded = Loaded::open(weights, args.weights.quantization(), &args.device.open()?)?;
    let template = Template::of(loaded.tokenizer()?);
    let sampler = Sampler::new(sampling).or_input()?;
    let begin = || loaded.begin(args.domain.domain, args.speculative.config());
    let mut generation = begin()?;
    let mut messages = opening(args);
    eprintln!("/clear begins anew, /exit or the end of input ends");
    let mut lines = std::io::stdin().lines();
    loop {
        eprint!("> ");
        let Some(line) = lines.next().transpose()? else {
            return Ok(());
        };
        match line.trim() {
            "" => continue,
            "/exit" => return Ok(()),
            "/clear" => {
                messages = opening(args);
                generation = begin()?;
                continue;
            }
            said => messages.push(Message::new(Role::User, said)),
        }
        let ids = template
            .prompt(loaded.tokenizer()?, &messages, args.domain.domain)
            .or_input()?;
        // what was read before is not read again
        let unread = match ids.strip_prefix(generation.past()) {
            Some(unread) if !unread.is_empty() => unread,
            _ => {
                generation = begin()?;
                &ids
            }
        };
        let reply = Reply {
            tokenizer: loaded.tokenizer()?,
            stop_ids: template.stop_ids(loaded.tokenizer()?),
            stop_text: template.stop_text(),
            max_tokens: args.sampling.max_tokens,
        };
        let stats = awake(|| reply.stream(&mut generation, unread, &sampler))?;
        println!();
        if args.stats {
            eprintln!("{stats}");
        }
        messages.push(Message::new(Role::Assistant, stats.text));
    }
}

fn opening(args: &ChatArgs) -> Vec<Message> {
    let system = args.system.iter();
    system
        .map(|text| Message::new(Role::System, text.as_str()))
        .collect()
}
