//! `evaluate`: loss of a model on documents, by domain, or its scores on tasks.

use std::path::PathBuf;
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
use crate::cli::tasks::TaskArgs;
use crate::cli::text::{ReadingArgs, passing_folder, tokenized};
use crate::cli::weights::Weights;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis evaluate --model runs/mixed --data data/valid.jsonl
  darkhorse-genesis evaluate --model runs/mixed --data a.jsonl b.parquet --json
  darkhorse-genesis evaluate --model ./exported --data data/valid.jsonl --seq-len 512
  darkhorse-genesis evaluate --model ./exported --tasks mine.yaml --samples answers.jsonl
  darkhorse-genesis evaluate --model ./exported --tasks arc_easy,piqa --task-data ~/data --limit 200 --json";

/// Measure a model's loss on documents, by domain, or its scores on tasks
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) model: ModelOrNewestArgs,
    /// Files or folders of documents; required unless `--tasks` names what to measure by
    #[arg(long, value_name = "PATH", num_args = 1.., required_unless_present = "tasks")]
    pub(crate) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) tasks: TaskArgs,
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

impl EvaluateArgs {
    fn load(&self) -> Result<Loaded, Failure> {
        let weights = self.model.weights(|| Ok(Weights::Newest(None)))?;
        let tokenizer = self.tokenizer.tokenizer.as_deref();
        Loaded::of_weights(
            weights,
            tokenizer,
            self.weights.held(),
            &self.device.open()?,
        )
    }
}

/// Runs the command.
pub(crate) fn execute(args: &EvaluateArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    evaluate(args)
}

/// Evaluates after the arguments were checked.
fn evaluate(args: &EvaluateArgs) -> Result<(), Failure> {
    if args.tasks.are_asked() {
        let tasks = args.tasks.open()?;
        return args.tasks.evaluate(&args.load()?, &tasks, args.json);
    }
    args.tasks.refuse_alone()?;
    let source = args.reading.source(&args.data)?;
    let mut loaded = args.load()?;
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
