//! `chat`: a conversation on the terminal.

use std::path::PathBuf;

use crate::inference::{Sampler, SamplingConfig};
use crate::tokenizer::chat::{Kind, Message, Role};
use clap::Args;
use darkhorse_backends::awake;

use crate::cli::args::{
    CacheArgs, DeviceArgs, DomainArgs, MAX_TOKENS, SamplingArgs, SpeculationArgs, TokenizerArgs,
    WeightsArgs,
};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::generate::{Begins, Reply};
use crate::cli::inference::Weights;
use crate::cli::model::{Loaded, Told};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis chat
  darkhorse-genesis chat --model runs/mixed --domain law
  darkhorse-genesis chat --model genesis_152m_instruct.safetensors --tokenizer tokenizer.json
  darkhorse-genesis chat --model ./DeepSeek-V3-small --system \"Answer briefly.\" --temperature 0.6";

/// Talk with a model
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    /// Model: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file; without it the newest run
    #[arg(long, visible_alias = "checkpoint", value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tokenizer: TokenizerArgs,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) domain: DomainArgs,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
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
    darkhorse_backends::memory::keep_freed();
    // settings are checked before anything is loaded
    args.sampling.config()?;
    chat(args)
}

/// Talks with what was resolved.
fn chat(args: &ChatArgs) -> Result<(), Failure> {
    let weights = match &args.model {
        Some(path) => Weights::Stored(path.clone()),
        None => Weights::Newest(None),
    };
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let quantization = args.weights.quantization();
    let loaded = Loaded::open_with(weights, tokenizer, quantization, &args.device.open()?)?;
    let template = loaded.template()?;
    let (defaults, max_tokens) = defaults(template.kind());
    let sampling = args.sampling.config_over(loaded.sampling(defaults))?;
    if args.stats {
        eprintln!("{}", Told(&sampling, &loaded));
    }
    let sampler = Sampler::new(sampling).or_input()?;
    let max_tokens = args.sampling.max_tokens(max_tokens);
    let begin = || {
        let cache = args.cache.config();
        loaded.begin(args.domain.domain, args.speculative.config(), cache)
    };
    let mut generation = begin()?;
    let mut messages = opening(args, template.kind());
    eprintln!("{COMMANDS}");
    let mut lines = std::io::stdin().lines();
    loop {
        eprint!("> ");
        let Some(line) = lines.next().transpose()? else {
            return Ok(());
        };
        let said = match line.trim() {
            "" => continue,
            "/exit" | "/quit" | "exit" | "quit" => return Ok(()),
            "/help" => {
                eprintln!("{COMMANDS}");
                continue;
            }
            "/clear" | "/reset" => {
                messages = opening(args, template.kind());
                continue;
            }
            said => said,
        };
        messages.push(Message::new(Role::User, said));
        let prompt = |messages: &[Message]| {
            let conversation = messages.to_vec().into();
            let ids = template.prompt(loaded.tokenizer()?, &conversation, args.domain.domain);
            ids.or_input()
        };
        let context = loaded.experiment.model.max_position_embeddings;
        let slides = template.kind() == Kind::Genesis;
        let too_long = |len: usize| slides && len > context.saturating_sub(max_tokens);
        let mut ids = match prompt(&messages) {
            Ok(ids) => ids,
            Err(failure) => {
                eprintln!("{}", failure.line());
                messages.pop();
                continue;
            }
        };
        while too_long(ids.len()) && drop_oldest(&mut messages) {
            ids = prompt(&messages)?;
        }
        // what was read before is not read again
        let same = generation.past().iter().zip(&ids);
        let kept = same.take_while(|(past, id)| past == id).count();
        let kept = kept.min(ids.len().saturating_sub(1));
        let unread = match generation.truncate(kept) {
            true => ids.split_off(kept),
            false => {
                generation = begin()?;
                ids
            }
        };
        let reply = Reply {
            tokenizer: loaded.tokenizer()?,
            stop_ids: [template.stop_ids(loaded.tokenizer()?), loaded.stop_ids()].concat(),
            stop_text: template.stop_text(),
            max_tokens,
            begins: Begins::Anew,
        };
        let stats = awake(|| reply.stream(&mut generation, &unread, &sampler))?;
        println!();
        if args.stats {
            eprintln!("{stats}");
        }
        let said = match template.kind() {
            // the template writes the line end itself
            Kind::Genesis | Kind::Plain => stats.text.trim(),
            Kind::Published | Kind::Turns => &stats.text,
        };
        messages.push(Message::new(Role::Assistant, said));
    }
}

const COMMANDS: &str = "/clear begins anew, /help tells this, /exit or the end of input ends";

/// What Genesis-152M is told when nobody says.
const GENESIS_SYSTEM: &str = "You are a helpful assistant.";

/// Settings and most tokens where nobody says: those of the model's package.
fn defaults(template: Kind) -> (SamplingConfig, usize) {
    match template {
        Kind::Genesis => {
            let sampling = SamplingConfig {
                temperature: 0.7,
                top_k: 50,
                top_p: 0.9,
                min_p: 0.0,
                repetition_penalty: 1.05,
                ..SamplingConfig::default()
            };
            (sampling, 150)
        }
        Kind::Published | Kind::Turns | Kind::Plain => (SamplingConfig::default(), MAX_TOKENS),
    }
}

fn opening(args: &ChatArgs, template: Kind) -> Vec<Message> {
    let default = (template == Kind::Genesis).then_some(GENESIS_SYSTEM);
    let system = args.system.as_deref().or(default).into_iter();
    system
        .map(|text| Message::new(Role::System, text))
        .collect()
}

/// Forgets the oldest message that is neither the system's nor the last; false if there is none.
fn drop_oldest(messages: &mut Vec<Message>) -> bool {
    let oldest = messages.iter().position(|it| it.role() != Role::System);
    match oldest {
        Some(oldest) if oldest + 1 < messages.len() => {
            messages.remove(oldest);
            true
        }
        _ => false,
    }
}
