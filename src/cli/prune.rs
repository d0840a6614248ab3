//! `prune`: removes experts from a model and measures the effect.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::checkpoint::Run;
use crate::cli::args::{DeviceArgs, TokenizerArgs};
use crate::cli::bench::decoded_per_second;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelArgs;
use crate::cli::output;
use crate::cli::text::{TextArgs, passing_folder, tokenized};
use crate::data::{Corpus, Tags};
use crate::domain::Domain;
use crate::model::weights::{NamedTensor, WeightSource};
use crate::run::ValidFeed;
use crate::surgery::{self, Criterion, Kept, Measured, Pruned, Receipt};
use crate::telemetry::EvalRecord;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis prune --model runs/mixed --data data/ --keep 15 --out runs/mixed-15
  darkhorse-genesis prune --model runs/mixed --data data/ --domain code --keep 4 --out runs/code
  darkhorse-genesis prune --model ./Mixtral-small --data data/ --keep 6 --by load --out runs/six

Half of the documents serve to choose by, the other half to measure by. What is left out, what it cost and how fast the \
model is now stand in receipt.json of the new run. Keep several by which to judge: what costs nothing in one model may cost \
much in another.";

/// File of the receipt in the run's folder.
const RECEIPT_FILE: &str = "receipt.json";

/// Share of the documents that is held out for measuring.
const HELD_OUT: f64 = 0.5;

/// Leave out the experts that contribute least, and measure what that costs
///
/// An expert's worth is its contribution to the tokens that choose it: gate times norm of its output. Routers keep
/// the columns of the experts that stay; nothing is trained. With --domain only that domain's tokens count: what
/// stays is the part of the model that the domain needs.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Experts per layer that stay
    #[arg(long, value_name = "N")]
    keep: usize,
    /// How experts are ranked
    #[arg(long, value_name = "HOW", default_value = "reap")]
    by: By,
    /// Rank experts by the tokens of this domain [default: by all tokens]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// Seed of `--by random`
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    text: TextArgs,
    /// Folder of the run to write
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// How experts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Mean contribution to the tokens that choose the expert
    Reap,
    /// Total contribution to all tokens
    Sum,
    /// Number of tokens that choose the expert
    Load,
    /// Random, as a baseline
    Random,
}

impl From<By> for Criterion {
    fn from(by: By) -> Self {
        match by {
            By::Reap => Self::Reap,
            By::Sum => Self::Sum,
            By::Load => Self::Load,
            By::Random => Self::Random,
        }
    }
}

/// Runs the command.
pub(crate) fn execute(args: &PruneArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    Run::check_new(&args.out).or_input()?;
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let open = || args.model.open()?.with_tokenizer(tokenizer);
    let stored = open()?;
    stored.refuse_blocks("pruned")?;
    Kept::check(&stored.experiment.model, args.keep).or_input()?;
    let source = args.text.source()?;
    let device = args.device.open()?;
    let whole = Loaded::of_stored(open()?, None, &device)?;
    let folder = passing_folder()?;
    let corpus = tokenized(&source, &whole, folder.path())?;
    let (chosen_by, held_out) = corpus.hold_out(HELD_OUT).or_input()?;
    let Some(held_out) = held_out else {
        return Err(Failure::input(
            "the data has too few documents to hold half of them out: a domain needs 20",
        ));
    };
    if let Some(domain) = args.domain
        && chosen_by.by_domain(domain).documents == 0
    {
        return Err(Failure::input(format!(
            "no document of the data is tagged `{domain}`: leave `--domain` out, or name one of those that it has"
        )));
    }

    let training = &whole.experiment.training;
    let feed = |corpus: Corpus| ValidFeed {
        corpus: Some(Arc::new(corpus)),
        rows: training.batch_size,
        seq_len: training.seq_len,
        batches: 0,
    };
    let (chosen_by, held_out) = (feed(chosen_by), feed(held_out));
    let config = &whole.experiment.model;
    let batches = chosen_by.pass(Tags::Given);
    let seen = surgery::observe(&whole.model, config, batches, args.domain).or_input()?;
    let criterion = args.by.into();
    let kept = Kept::choose(config, &seen, args.keep, criterion, args.seed).or_input()?;
    let pruned = Pruned::new(stored.weights.as_ref(), config, &kept);
    let part = whole.with_model(kept.config.clone(), &pruned)?;

    let losses = [whole.evaluate(&held_out)?, part.evaluate(&held_out)?];
    let speeds = decoded_per_second([&whole, &part])?;
    let measured = |model: &Loaded, loss: &EvalRecord, speed| {
        let model = &model.experiment.model;
        let experts = model.moe.as_ref().map_or(0, |moe| moe.n_routed_experts);
        Measured::new(experts, model.num_params(), loss, speed)
    };
    let receipt = Receipt {
        of: args.model.name(),
        criterion,
        seed: (criterion == Criterion::Random).then_some(args.seed),
        domain: args.domain,
        observed_tokens: seen.values().map(|layer| layer.read).max().unwrap_or(0),
        kept: kept.experts.clone(),
        loss_change: losses[1].loss / losses[0].loss - 1.0,
        before: measured(&whole, &losses[0], speeds[0]),
        after: measured(&part, &losses[1], speeds[1]),
    };

    let names = pruned.names().into_iter();
    let tensors = names.map(|name| NamedTensor::of(&pruned, &name));
    let tensors = tensors.collect::<Result<Vec<_>, _>>().or_input()?;
    stored.write_run(&args.out, &part.experiment, tensors)?;
    let run = Run::open(&args.out).or_input()?;
    run.write_json(RECEIPT_FILE, &receipt).or_input()?;
    output::text(receipt)?;
    output::line(format_args!(
        "{}: use it by `darkhorse-genesis inference --model {0} --prompt ...`",
        args.out.display()
    ))
}
