//! `retrofit`: adds null experts to a trained model and measures the effect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use clap::Args;
use darkhorse_backends::select::Selected;

use crate::checkpoint::Run;
use crate::cli::args::{DeviceArgs, TokenizerArgs};
use crate::cli::bench::decoded_per_second;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelArgs;
use crate::cli::output;
use crate::cli::text::{TextArgs, passing_folder, tokenized};
use crate::config::Experiment;
use crate::data::{Position, Stream, StreamConfig};
use crate::model::{CausalLm, weights};
use crate::run::ValidFeed;
use crate::surgery::Measured;
use crate::surgery::retrofit::{self, Lesson, Retrofitted, Widened, with_null_experts};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis retrofit --model runs/mixed --data data/ --k-target 1.5 --out runs/mixed-null
  darkhorse-genesis retrofit --model ./Mixtral-small --data data/ --k-target 1.2 \\
    --null-experts 4 --steps 500 --out runs/light

A fifth of the documents is held out to measure by. What the null experts cost in loss and save in time stands in \
receipt.json of the new run.";

/// File of the receipt in the run's folder.
const RECEIPT_FILE: &str = "receipt.json";

/// Share of the documents that is held out for measuring.
const HELD_OUT: f64 = 0.2;

/// Give a trained model null experts, so that its tokens visit fewer experts
///
/// A null expert is a slot that a token may choose instead of an expert and that costs nothing. Only the routers are
/// trained, on the text and with the original model as teacher; all other weights stay.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RetrofitArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Mean number of experts that a token is to visit, below the number that it chooses
    #[arg(long, value_name = "K")]
    k_target: f64,
    /// Null experts per layer [default: the number of experts that a token chooses]
    #[arg(long, value_name = "N")]
    null_experts: Option<usize>,
    /// Optimizer steps of the routers' training
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Learning rate of the routers
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    learning_rate: f64,
    /// Weight of the divergence from the original model, added to the loss on the text
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    teacher_weight: f64,
    /// Seed of the order of the text
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

/// Runs the command.
pub(crate) fn execute(args: &RetrofitArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    Run::check_new(&args.out).or_input()?;
    if !(args.learning_rate > 0.0 && args.learning_rate.is_finite()) {
        return Err(Failure::input(format!(
            "`--learning-rate` is {}, expected a number above 0",
            args.learning_rate
        )));
    }
    if !(args.teacher_weight >= 0.0 && args.teacher_weight.is_finite()) {
        return Err(Failure::input(format!(
            "`--teacher-weight` is {}, expected a number from 0 on",
            args.teacher_weight
        )));
    }
    let tokenizer = args.tokenizer.tokenizer.as_deref();
    let open = || args.model.open()?.with_tokenizer(tokenizer);
    let stored = open()?;
    stored.refuse_blocks("given null experts")?;
    let moe = stored.experiment.model.moe.as_ref();
    let null_experts = args.null_experts.or(moe.map(|moe| moe.num_experts_per_tok));
    let null_experts = null_experts.unwrap_or(1);
    let config = with_null_experts(&stored.experiment.model, null_experts, args.k_target);
    let config = config.or_input()?;
    let source = args.text.source()?;
    let device = args.device.open()?;
    let teacher = Loaded::of_stored(open()?, None, &device)?;
    let folder = passing_folder()?;
    let corpus = tokenized(&source, &teacher, folder.path())?;
    let (learned, held_out) = corpus.hold_out(HELD_OUT).or_input()?;
    let Some(held_out) = held_out else {
        return Err(Failure::input(
            "the data has too few documents to hold a fifth of them out: a domain needs 20",
        ));
    };
    let training = &teacher.experiment.training;
    let (rows, seq_len) = (training.batch_size, teacher.row_length(None)?);
    let held_out = ValidFeed {
        corpus: Some(Arc::new(held_out)),
        rows,
        seq_len,
        batches: 0,
    };
    let shape = StreamConfig::new(rows, seq_len, args.seed);
    let mut stream = Stream::new(Arc::new(learned), shape, Position::default()).or_input()?;

    let student = CausalLm::<Autodiff<Selected>>::init(&config, 0, &device);
    let widened = Widened::new(stored.weights.as_ref(), &config);
    let student = weights::load(student, &widened).or_input()?;
    let lesson = Lesson {
        steps: args.steps,
        learning_rate: args.learning_rate,
        teacher_weight: args.teacher_weight,
    };
    let begin = Instant::now();
    let told = |at: retrofit::Progress| {
        if at.step.is_multiple_of((args.steps / 10).max(1)) || at.step == args.steps {
            eprintln!(
                "step {:>6}/{}  loss {:.3}  divergence {:.4}  experts a token visits {:.3}",
                at.step, args.steps, at.loss, at.divergence, at.visited
            );
        }
    };
    let student = retrofit::calibrate(
        &teacher.model,
        student,
        &config,
        (&lesson, training),
        || stream.next_batch(),
        told,
    );
    let student = student.or_input()?;
    let seconds = begin.elapsed().as_secs_f64();

    let experiment = Experiment {
        model: config,
        ..teacher.experiment.clone()
    };
    let student = teacher.with_trained(student.valid(), experiment);
    let speeds = decoded_per_second([&teacher, &student])?;
    let before = measured(&teacher, &held_out, speeds[0])?;
    let after = measured(&student, &held_out, speeds[1])?;
    let receipt = Retrofitted {
        of: args.model.name(),
        null_experts,
        k_target: args.k_target,
        steps: args.steps,
        tokens: args.steps * (rows * seq_len) as u64,
        seconds,
        loss_change: after.loss / before.loss - 1.0,
        before,
        after,
    };
    let tensors = weights::collect(&student.model);
    stored.write_run(&args.out, &student.experiment, tensors)?;
    let run = Run::open(&args.out).or_input()?;
    run.write_json(RECEIPT_FILE, &receipt).or_input()?;
    output::text(receipt)?;
    output::line(format_args!(
        "{}: use it by `darkhorse-genesis inference --model {0} --prompt ...`",
        args.out.display()
    ))
}

fn measured(model: &Loaded, held_out: &ValidFeed, speed: f64) -> Result<Measured, Failure> {
    let loss = model.evaluate(held_out)?;
    let config = &model.experiment.model;
    let (experts, k) = config.moe.as_ref().map_or((0, 0), |moe| {
        (moe.n_routed_experts, moe.num_experts_per_tok)
    });
    let visited = k as f64 * (1.0 - loss.null_share.unwrap_or(0.0));
    Ok(Measured {
        visited: Some(visited),
        ..Measured::new(experts, config.num_params(), &loss, speed)
    })
}
