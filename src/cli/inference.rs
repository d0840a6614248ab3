//! `inference`: continues a prompt.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use crate::config::memory::Purpose;
use crate::inference::{Generation, Sampler, SamplingConfig};
use crate::model::Ttt;
use crate::model::dtype::Dtype;
use clap::Args;
use darkhorse_backends::awake;
use darkhorse_backends::select::Selected;

use crate::cli::args::{
    CacheArgs, DeviceArgs, DomainArgs, ExperimentArgs, MAX_TOKENS, SamplingArgs, SpeculationArgs,
    TokenizerArgs, TttArgs, WeightsArgs,
};
use crate::cli::device;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::generate::{Begins, Reply};
use crate::cli::model::{Loaded, Told};
use crate::cli::model_args::ModelOrNewestArgs;
use crate::cli::notice;
use crate::cli::output;
use crate::cli::request_routes;
use crate::cli::weights::Weights;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis --prompt \"Explain the laws of thermodynamics.\"
  darkhorse-genesis inference --params 1b --prompt \"Write a Rust function.\" --domain code
  darkhorse-genesis inference --model runs/mixed --prompt \"Once\" \\
    --temperature 0.8 --top-p 0.95 --seed 1
  darkhorse-genesis inference --model runs/mixed --prompt \"Once\" --speculative --stats
  darkhorse-genesis inference --model runs/mixed --prompt - < question.txt
  darkhorse-genesis inference --model ./DeepSeek-small --ids 1,2,3 --max-tokens 8 \\
    --temperature 0 --print-ids
  darkhorse-genesis inference --params 5b --random-weights --prompt \"Once\" --max-tokens 32 --stats";

/// Continue a prompt
///
/// Without --model the newest run is used, with --params the newest one of that preset.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InferenceArgs {
    /// Text to continue; -: read from the standard input, without its final line end
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "ids"
    )]
    pub(crate) prompt: Option<String>,
    /// Token ids to continue instead of a text, as 1,2,3
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "prompt"
    )]
    pub(crate) ids: Option<Vec<u32>>,
    /// Print the generated ids instead of their text, in one line
    #[arg(long)]
    pub(crate) print_ids: bool,
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(crate) model: ModelOrNewestArgs,
    #[command(flatten)]
    pub(crate) tokenizer: TokenizerArgs,
    #[command(flatten)]
    pub(crate) ttt: TttArgs,
    /// Run a model with random weights, for measurements
    #[arg(long, conflicts_with = "model")]
    pub(crate) random_weights: bool,
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
    /// Also write the routes to a JSON file: visits of every expert, and slots and gates of every token [default:
    /// routes are not recorded]
    #[arg(long, value_name = "FILE")]
    pub(crate) routes: Option<PathBuf>,
    /// Print tokens per second, and with --speculative the accepted drafts
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}

impl InferenceArgs {
    /// Source of the weights.
    pub(crate) fn source(&self) -> Result<Weights, Failure> {
        self.model
            .weights(|| self.experiment.weights(self.random_weights))
    }

    /// The prompt, read from the standard input if it is `-`.
    fn prompt(&self) -> Result<Option<String>, Failure> {
        if self.prompt.as_deref() != Some("-") {
            return Ok(self.prompt.clone());
        }
        if io::stdin().is_terminal() {
            notice::tell("the prompt is what you type now, up to an end of input (Ctrl-D)");
        }
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        let mut prompt = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::input(format!(
                "the prompt on the standard input is no UTF-8 at byte {at}: convert it, as by iconv"
            ))
        })?;
        if prompt.ends_with('\n') {
            prompt.pop();
            if prompt.ends_with('\r') {
                prompt.pop();
            }
        }
        Ok(Some(prompt))
    }

    /// Writes the recorded routes, if `--routes` is given.
    fn write_routes(
        &self,
        loaded: &Loaded,
        generation: &Generation<'_, Selected>,
    ) -> Result<(), Failure> {
        let (Some(path), Some(routes)) = (&self.routes, generation.routes()) else {
            return Ok(());
        };
        let past = generation.past();
        let mut routes = routes.clone();
        // the last token was read only if a draft had guessed it
        routes.truncate(past.len().saturating_sub(1));
        request_routes::write(path, &loaded.experiment.model, past, &routes)
    }

    /// Refuses options for the cache together with test-time training, which processes whole sequences without one.
    fn refuse_what_ttt_does_without(&self) -> Result<(), Failure> {
        let without = [
            ("--speculative", self.speculative.config().is_some()),
            ("--cache-dtype", self.cache.dtype().is_some()),
        ];
        match without.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if self.ttt.ttt() == Ttt::On => Err(Failure::input(format!(
                "`--ttt on` reads the whole text anew for every token, without a cache: leave `{option}` out"
            ))),
            _ => Ok(()),
        }
    }
}

/// Runs the command.
pub(crate) fn execute(args: &InferenceArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    // settings are checked before anything is loaded
    args.sampling.config()?;
    args.refuse_what_ttt_does_without()?;
    let prompt = args.prompt()?;
    let weights = args.source()?;
    if let Weights::Random(experiment) = &weights {
        let purpose = Purpose::Inference {
            weights: args.weights.held().unwrap_or(Dtype::F32),
            cache: args.cache.dtype().unwrap_or(Dtype::F32),
            context: args.sampling.max_tokens(MAX_TOKENS),
        };
        device::refuse_what_cannot_fit(&experiment.model, purpose, args.device.device.as_ref())?;
    }
    infer(args, prompt.as_deref(), weights)
}

/// Continues the prompt after the arguments were checked.
fn infer(args: &InferenceArgs, prompt: Option<&str>, weights: Weights) -> Result<(), Failure> {
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let held = args.weights.held();
    let mut loaded = Loaded::of_weights(weights, tokenizer, held, &args.device.open()?)?;
    loaded.model = args.ttt.apply(loaded.model)?;
    let defaults = loaded.sampling(SamplingConfig::default());
    let sampling = args.sampling.config_over(defaults)?;
    if args.stats {
        eprintln!("{}", Told(&sampling, &loaded));
    }
    let sampler = Sampler::new(sampling).or_input()?;
    let cache = args.cache.config();
    let speculation = args.speculative.config();
    let mut generation = loaded.begin(args.domain.domain, speculation, cache)?;
    if args.routes.is_some() {
        request_routes::check(&loaded.experiment.model)?;
        generation = generation.recording_routes();
    }
    if args.ttt.ttt() == Ttt::On {
        generation = generation.reading_anew();
    }
    let (Some(prompt), None) = (prompt, &args.ids) else {
        let ids = args.ids.as_deref().unwrap_or_default();
        return continue_ids(args, &loaded, generation, ids, sampler);
    };
    let tokenizer = loaded.tokenizer()?;
    let mut ids = tokenizer.opening(args.domain.domain);
    ids.extend(tokenizer.encode(prompt).or_input()?);
    if args.print_ids {
        return continue_ids(args, &loaded, generation, &ids, sampler);
    }

    output::text(prompt)?;
    let reply = Reply {
        tokenizer,
        stop_ids: loaded.stop_ids(),
        stop_text: None,
        max_tokens: args.sampling.max_tokens(MAX_TOKENS),
        begins: Begins::InThePrompt,
        interrupt: None,
    };
    let stats = awake(|| reply.stream(&mut generation, &ids, &sampler))?;
    output::line("")?;
    if let (true, Some(stats)) = (args.stats, stats) {
        eprintln!("{stats}");
    }
    args.write_routes(&loaded, &generation)
}

/// Generates exactly the requested number of ids and prints them.
fn continue_ids(
    args: &InferenceArgs,
    loaded: &Loaded,
    mut generation: Generation<'_, Selected>,
    ids: &[u32],
    sampler: Sampler,
) -> Result<(), Failure> {
    let mut generated = Vec::new();
    awake(|| -> Result<(), Failure> {
        generation.read(ids).or_input()?;
        while generated.len() < args.sampling.max_tokens(MAX_TOKENS)
            && let Some(id) = generation.next_token(&sampler).or_input()?
        {
            generated.push(id);
        }
        Ok(())
    })?;
    if args.print_ids {
        let ids: Vec<String> = generated.iter().map(u32::to_string).collect();
        output::line(ids.join(","))?;
    } else {
        let mut stream = loaded.tokenizer()?.stream_after(ids);
        let pieces: String = generated.iter().filter_map(|&id| stream.push(id)).collect();
        output::line(format_args!("{pieces}{}", stream.finish()))?;
    }
    args.write_routes(loaded, &generation)
}
