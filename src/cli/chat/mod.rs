//! `chat`: a conversation on the terminal.

mod command;
mod conversation;
mod lines;

use crate::inference::{Sampler, SamplingConfig};
use crate::tokenizer::chat::Kind;
use clap::Args;
use darkhorse_backends::awake;

use crate::cli::args::{
    CacheArgs, DeviceArgs, DomainArgs, MAX_TOKENS, SamplingArgs, SpeculationArgs, TokenizerArgs,
    WeightsArgs,
};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::generate::{Begins, Reply};
use crate::cli::interrupt::Interrupt;
use crate::cli::model::{Loaded, Told};
use crate::cli::model_args::ModelOrNewestArgs;
use crate::cli::notice;
use crate::cli::output;
use crate::cli::weights::Weights;
use command::{Command, Line};
use conversation::{Chat, Conversation, Next};
use lines::Lines;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis chat
  darkhorse-genesis chat --model runs/mixed --domain legal
  darkhorse-genesis chat --model genesis_152m_instruct.safetensors --tokenizer tokenizer.json
  darkhorse-genesis chat --model ./DeepSeek-V3-small --system \"Answer briefly.\" --temperature 0.6";

/// Talk with a model
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelOrNewestArgs,
    #[command(flatten)]
    pub(crate) tokenizer: TokenizerArgs,
    /// System message at the start of the conversation [default: none, or the one of the model's family]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
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
    /// Print tokens per second after every answer
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

/// Runs the conversation after the arguments were checked.
fn chat(args: &ChatArgs) -> Result<(), Failure> {
    let weights = args.model.weights(|| Ok(Weights::Newest(None)))?;
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let held = args.weights.held();
    let loaded = Loaded::of_weights(weights, tokenizer, held, &args.device.open()?)?;
    let template = loaded.told_template()?;
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
    let chat = Chat {
        loaded: &loaded,
        template: &template,
        domain: args.domain.domain,
        max_tokens,
    };
    let default = (template.kind() == Kind::Genesis).then_some(GENESIS_SYSTEM);
    let system = args.system.as_deref().or(default);
    let interrupt = Interrupt::listen()?;
    let reply = Reply {
        tokenizer: loaded.tokenizer()?,
        stop_ids: [template.stop_ids(loaded.tokenizer()?), loaded.stop_ids()].concat(),
        stop_text: template.stop_text(),
        max_tokens,
        begins: Begins::Anew,
        interrupt: Some(&interrupt),
    };
    let mut generation = begin()?;
    let mut conversation = Conversation::new(chat, system);
    if args.system.is_some() {
        conversation.refuse_long_system()?;
    }
    notice::tell(command::HELP);
    let mut lines = Lines::open(&interrupt);
    while let Some(line) = lines.next()? {
        let said = match Line::of(&line) {
            Line::Empty => continue,
            Line::Said(said) => said,
            Line::Command(Command::Exit) => break,
            Line::Command(Command::Help) => {
                eprintln!("{}", command::HELP);
                continue;
            }
            Line::Command(Command::Clear) => {
                conversation = Conversation::new(chat, system);
                continue;
            }
            Line::Unknown(line) => {
                eprintln!("{}", command::unknown(line));
                continue;
            }
        };
        let mut ids = match conversation.say(said) {
            Ok(Next::Read { ids, forgotten }) => {
                forgotten.into_iter().for_each(notice::tell);
                ids
            }
            Ok(Next::TooLong(too_long)) => {
                eprintln!("{too_long}");
                continue;
            }
            // the template refuses the turn
            Err(failure) => {
                eprintln!("{}", failure.line());
                continue;
            }
        };
        // the common prefix with the past is not read again
        let same = generation.past().iter().zip(&ids);
        let kept = same.take_while(|(past, id)| past == id).count();
        let kept = kept.min(ids.len().saturating_sub(1));
        if generation.truncate(kept) {
            ids.drain(..kept);
        } else {
            generation = begin()?;
        }
        let answer = interrupt.stops(|| awake(|| reply.stream(&mut generation, &ids, &sampler)));
        let Some(answer) = answer? else {
            conversation.take_back();
            eprintln!("stopped before the answer began; what you said is taken back");
            continue;
        };
        output::line("")?;
        if args.stats {
            eprintln!("{answer}");
        }
        conversation.answer(&answer.text);
    }
    Ok(())
}

/// Default system message of Genesis-152M.
const GENESIS_SYSTEM: &str = "You are a helpful assistant.";

/// Default sampling settings and token limit for the family of a template.
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
