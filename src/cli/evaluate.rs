//! `evaluate`: loss of a model on documents, by domain.

use std::sync::Arc;

use crate::run::ValidFeed;
use crate::telemetry::{EvalRecord, EvaluationTable};
use clap::Args;
use serde::Serialize;

use crate::cli::args::{DeviceArgs, TokenizerArgs, TttArgs, WeightsArgs};
use crate::cli::batch_aware::{BatchAware, BatchAwareArgs};
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelOrNewestArgs;
use crate::cli::output;
use crate::cli::text::{TextArgs, passing_folder, tokenized};
use crate::cli::weights::Weights;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis evaluate --model runs/mixed --data data/valid.jsonl
  darkhorse-genesis evaluate --model runs/mixed --data a.jsonl b.parquet --json
  darkhorse-genesis evaluate --model ./exported --data data/valid.jsonl --seq-len 512";

/// Measure a model's loss on documents, by domain
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) model: ModelOrNewestArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Rows per batch [default: as in training]
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// Tokens per row. A document that fits into a row is scored whole; a longer one is cut into rows of this length,
    /// each scored separately [default: as in training]
    #[arg(long, value_name = "N")]
    pub(crate) seq_len: Option<usize>,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    #[command(flatten)]
    pub(crate) tokenizer: TokenizerArgs,
    #[command(flatten)]
    pub(crate) ttt: TttArgs,
    #[command(flatten)]
    pub(crate) batch_aware: BatchAwareArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Output of `--json`.
#[derive(Debug, Serialize)]
struct Evaluation {
    #[serde(flatten)]
    record: EvalRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_aware: Option<BatchAware>,
}

/// Runs the command.
pub(crate) fn execute(args: &EvaluateArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    evaluate(args)
}

/// Evaluates after the arguments were checked.
fn evaluate(args: &EvaluateArgs) -> Result<(), Failure> {
    let source = args.text.source()?;
    let weights = args.model.weights(|| Ok(Weights::Newest(None)))?;
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let held = args.weights.held();
    let mut loaded = Loaded::of_weights(weights, tokenizer, held, &args.device.open()?)?;
    loaded.model = args.ttt.apply(loaded.model)?;
    let training = &loaded.experiment.training;
    let seq_len = loaded.row_length(args.seq_len)?;
    // the tokens are needed only once
    let cache = passing_folder()?;
    let corpus = tokenized(&source, &loaded, cache.path())?;
    let valid = ValidFeed {
        corpus: Some(Arc::new(corpus)),
        rows: args.batch_size.unwrap_or(training.batch_size),
        seq_len,
        batches: 0,
    };
    let record = loaded.evaluate(&valid)?;
    let batch_aware = args.batch_aware.measure(&loaded, &valid, &record)?;
    if args.json {
        let found = Evaluation {
            record,
            batch_aware,
        };
        return output::line(serde_json::to_string_pretty(&found)?);
    }
    output::text(EvaluationTable(&record))?;
    batch_aware.map_or(Ok(()), |found| output::line(found.to_string()))
}
