//! `routes`: studies where a model's routers send the tokens of a text.

mod files;
mod subject;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use darkhorse_backends::select::Device;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::{DeviceArgs, TokenizerArgs, WeightsArgs};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelOrNewestArgs;
use crate::cli::text::{TextArgs, passing_folder, tokenized};
use crate::cli::{notice, output};
use crate::data::{Corpus, DataError, PackedBatch, Pass, Source, Tags};
use crate::stored::Stored;
use crate::study::{About, Observation, Plan, observe, summarize};
use crate::telemetry::RouteStudy;
use subject::{Other, Subject, check_routes, check_vocabulary};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis routes --model runs/mixed --data data/valid.jsonl
  darkhorse-genesis routes --model runs/mixed --data data/valid.jsonl --against 1000
  darkhorse-genesis routes --model ./Mixtral-small --data corpus/ \\
    --out study --trace study/trace.jsonl
  darkhorse-genesis routes --model ./Mixtral-small --adapter ./lora \\
    --against ./Mixtral-small --data corpus/

Written are routes.json and routes.html. docs/routes.md defines every figure.";

/// Study where a model's routers send the tokens of a text: loads, meaning, labels of experts, locality
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RoutesArgs {
    #[command(flatten)]
    model: ModelOrNewestArgs,
    #[command(flatten)]
    text: TextArgs,
    /// Folder for routes.json and routes.html [default: the run's own; nothing is written for a model that is no run]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Compare the choices with those of an earlier step of the run, or of another model [default: no comparison]
    #[arg(long, value_name = "STEP|PATH")]
    against: Option<Other>,
    /// Also write the experts and gates of every token, one line of JSON per document [default: they are not kept]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Tokens to read, from documents in random order
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..))]
    tokens: u64,
    /// Tokens per row; longer documents are read in parts [default: as in training]
    #[arg(long, value_name = "N")]
    seq_len: Option<usize>,
    /// Tell the routers the domains of the documents, as in training
    #[arg(long)]
    tell_domains: bool,
    /// Seed of all random draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print routes.json instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn execute(args: &RoutesArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    let subject = Subject::find(&args.model)?;
    let out = args.out.clone().or_else(|| subject.run_folder());
    files::check(out.as_deref(), args.trace.as_deref())?;
    let stored = subject.stored()?;
    check_routes(&stored.experiment.model)?;
    let other = args.against.as_ref().map(|other| subject.other(other));
    let other = other.transpose()?;
    if let Some((_, other)) = &other {
        check_vocabulary(&stored.experiment.model, &other.experiment.model)?;
    }

    let source = args.text.source()?;
    let stored = stored.with_tokenizer(args.tokenizer.tokenizer.as_deref())?;
    let device = args.device.open()?;
    let loaded = Loaded::of_stored(stored, args.weights.held(), &device)?;
    let text = Text::open(args, &source, &loaded)?;
    let about = About {
        model: subject.name.clone(),
        step: loaded.step,
        data: args
            .text
            .data
            .iter()
            .map(|it| it.display().to_string())
            .collect(),
        told_domains: args.tell_domains,
        against: other.as_ref().map(|(name, _)| name.clone()),
    };
    let observation = text.observe(args, &loaded)?;
    let tokenizer = loaded.tokenizer()?.clone();
    drop(loaded);
    let other = other.map(|(_, stored)| text.observe_other(args, stored, &device));
    let other = other.transpose()?;
    let text_of = |id| match tokenizer.decode(&[id]) {
        // a special token, or an incomplete character
        text if text.is_empty() || text.contains('\u{fffd}') => {
            tokenizer.token(id).unwrap_or_else(|| id.to_string())
        }
        text => text,
    };
    let study = summarize(about, &observation, other.as_ref(), text_of).or_input()?;

    tell_missing_domains(&study);
    if let Some(path) = &args.trace {
        files::write_trace(path, &observation)?;
    }
    let written = out
        .map(|out| files::write_study(&out, &study))
        .transpose()?;
    if args.json {
        return output::line(serde_json::to_string_pretty(&study)?);
    }
    output::text(table::render(&study))?;
    if let Some(page) = written {
        notice::tell(format_args!("pictures of all this: {}", page.display()));
    }
    Ok(())
}

/// The text to read.
struct Text {
    corpus: Arc<Corpus>,
    rows: usize,
    seq_len: usize,
}

impl Text {
    fn open(args: &RoutesArgs, source: &Source, loaded: &Loaded) -> Result<Self, Failure> {
        let seq_len = loaded.row_length(args.seq_len)?;
        let cache = passing_folder()?;
        let corpus = tokenized(source, loaded, cache.path())?;
        Ok(Self {
            corpus: Arc::new(corpus),
            rows: loaded.experiment.training.batch_size,
            seq_len,
        })
    }

    fn batches(
        &self,
        args: &RoutesArgs,
    ) -> Result<impl Iterator<Item = Result<PackedBatch, DataError>> + use<>, Failure> {
        let pass = Pass::new(self.corpus.clone(), self.rows, self.seq_len, Tags::Given);
        let pass = pass.or_input()?.shuffled(args.seed);
        let bar = bar(args.tokens.min(self.corpus.total().tokens));
        let tokens = |batch: &PackedBatch| batch.tokens() as u64;
        Ok(pass.inspect(move |batch| bar.inc(batch.as_ref().map_or(0, tokens))))
    }

    fn observe(&self, args: &RoutesArgs, loaded: &Loaded) -> Result<Observation, Failure> {
        let plan = Plan {
            tokens: args.tokens,
            told_domains: args.tell_domains,
            gates: args.trace.is_some(),
            seed: args.seed,
            ..Plan::default()
        };
        observe(&loaded.model, self.batches(args)?, &plan).or_input()
    }

    fn observe_other(
        &self,
        args: &RoutesArgs,
        stored: Stored,
        device: &Device,
    ) -> Result<Observation, Failure> {
        let loaded = Loaded::of_stored(stored, args.weights.held(), device)?;
        let without_trace = RoutesArgs {
            trace: None,
            ..args.clone()
        };
        self.observe(&without_trace, &loaded)
    }
}

/// Progress bar over the tokens.
fn bar(tokens: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} of {human_len} tokens, {elapsed}");
    notice::bar(tokens).with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Tells the user why figures by domain are missing.
fn tell_missing_domains(study: &RouteStudy) {
    match study.domain_tokens.as_slice() {
        [] => notice::tell(
            "no document names its domain: figures by domain and names of experts are left out",
        ),
        [only] => notice::tell(format_args!(
            "all documents that name a domain are of {}: figures by domain and names of experts need two",
            only.domain
        )),
        _ => {}
    }
}
