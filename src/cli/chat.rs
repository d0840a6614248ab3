//! `chat`: a conversation on the terminal.

use std::path::PathBuf;

use crate::inference::{Sampler, SamplingConfig};
use crate::tokenizer::chat::{Message, Role, Template};
use clap::Args;
use darkhorse_backends::awake;

use crate::cli::args::{
    CacheArgs, DeviceArgs, DomainArgs, MAX_TOKENS, SamplingArgs, SpeculationArgs, TokenizerArgs,
    WeightsArgs,
};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::generate::Reply;
use crate::cli::inference::Weights;
use crate::cli::model::Loaded;

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
    let family_template = loaded.template;
    let template = match family_template {
        Some(template) => template,
        None => Template::of(loaded.tokenizer()?),
    };
    let (defaults, max_tokens) = defaults(template);
    let sampler = Sampler::new(args.sampling.config_over(defaults)?).or_input()?;
    let max_tokens = args.sampling.max_tokens(max_tokens);
    let begin = || {
        let cache = args.cache.config();
        loaded.begin(args.domain.domain, args.speculative.config(), cache)
    };
    let mut generation = begin()?;
    let mut messages = opening(args, template);
    let mut answered: Option<Answered> = None;
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
                messages = opening(args, template);
                answered = None;
                continue;
            }
            said => said,
        };
        messages.push(Message::new(Role::User, said));
        let prompt = |messages: &[Message]| {
            let ids = template.prompt(loaded.tokenizer()?, messages, args.domain.domain);
            ids.or_input()
        };
        let context = loaded.experiment.model.max_position_embeddings;
        let slides = template == Template::GenesisChatMl;
        let too_long = |len: usize| slides && len > context.saturating_sub(max_tokens);
        // what was read before is not read again
        let next = match &answered {
            Some(Answered { len, rest }) => {
                let next = template.next_turn(loaded.tokenizer()?, rest, said);
                Some((*len, next.or_input()?))
            }
            None => None,
        };
        let (kept, unread) = match next {
            Some((len, next)) if !too_long(len + next.len()) && generation.truncate(len) => {
                (len, next)
            }
            _ => {
                generation = begin()?;
                let mut ids = prompt(&messages)?;
                while too_long(ids.len()) && drop_oldest(&mut messages) {
                    ids = prompt(&messages)?;
                }
                (0, ids)
            }
        };
        let reply = Reply {
            tokenizer: loaded.tokenizer()?,
            stop_ids: template.stop_ids(loaded.tokenizer()?),
            stop_text: template.stop_text(),
            max_tokens,
        };
        let stats = awake(|| reply.stream(&mut generation, &unread, &sampler))?;
        println!();
        if args.stats {
            eprintln!("{stats}");
        }
        let said = match template {
            // the template writes the newline itself
            Template::GenesisChatMl => stats.text.trim_end(),
            _ => &stats.text,
        };
        let (tokens, rest) = stats.of_first(said.len());
        answered = Some(Answered {
            len: kept + unread.len() + tokens,
            rest: rest.to_owned(),
        });
        let said = match template {
            Template::GenesisChatMl => said.trim(),
            _ => said,
        };
        messages.push(Message::new(Role::Assistant, said));
    }
}

/// Where the newest answer ends.
struct Answered {
    /// Tokens up to its last one.
    len: usize,
    /// Text of it behind these.
    rest: String,
}

const COMMANDS: &str = "/clear begins anew, /help tells this, /exit or the end of input ends";

/// What Genesis-152M is told when nobody says.
const GENESIS_SYSTEM: &str = "You are a helpful assistant.";

/// Settings and most tokens where nobody says: those of the model's package.
fn defaults(template: Template) -> (SamplingConfig, usize) {
    match template {
        Template::GenesisChatMl => {
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
        Template::Turns | Template::ChatMl | Template::Plain => {
            (SamplingConfig::default(), MAX_TOKENS)
        }
    }
}

fn opening(args: &ChatArgs, template: Template) -> Vec<Message> {
    let default = (template == Template::GenesisChatMl).then_some(GENESIS_SYSTEM);
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
