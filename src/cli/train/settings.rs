//! Changes of an experiment by the arguments.

use std::path::PathBuf;

use crate::config::{Experiment, TokenizerConfig};
use crate::data::{Mix, Source, SourceOptions};
use crate::domain::Domain;
use crate::model::dtype::Dtype;
use crate::tokenizer::Tokenizer;
use crate::training::schedule::ScheduleConfig;
use crate::training::{Precision, TrainingConfig};
use clap::{Args, ValueEnum};

use crate::cli::args::Domains;
use crate::cli::dtype::one_of;
use crate::cli::failure::{Failure, OrInput};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(super) struct DataArgs {
    /// Files or folders of training documents: JSON by line or array (.jsonl, .json), texts (.txt), both also as .gz
    /// and .zst, or .parquet [default: the embedded corpus]
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Files or folders of validation documents
    #[arg(long, value_name = "PATH", num_args = 1..)]
    valid: Vec<PathBuf>,
    /// Share of the training documents that is held out for validation, if --valid names none; 0.02 unless set.
    /// Domains of fewer than 20 documents hold out none
    #[arg(long, value_name = "F", conflicts_with = "valid")]
    valid_share: Option<f64>,
    /// Train on every document, without validation
    #[arg(long, conflicts_with_all = ["valid", "valid_share"])]
    no_valid: bool,
    /// Shares of domains in the training tokens, as code=0.3,math=0.2 [default: as they are in the data]
    #[arg(long, value_name = "SHARES")]
    mix: Option<Mix>,
    /// Probability that a document's domain is hidden [default: the preset's]
    #[arg(long, value_name = "P")]
    domain_dropout: Option<f64>,
    /// Do not put domains into the text as control tokens
    #[arg(long)]
    no_domain_token: bool,
    /// Skip, count and report unreadable lines instead of stopping at the first
    #[arg(long)]
    skip_bad_lines: bool,
    /// Domain for documents with an unknown tag [default: they are refused]
    #[arg(long, value_name = "DOMAIN")]
    unknown_domain: Option<Domain>,
    /// Key or column that holds the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// Tokenizer, a Hugging Face tokenizer.json [default: the preset's]
    #[arg(long, value_name = "FILE")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Train a byte-level tokenizer of N tokens on the data; sets the size of the model's vocabulary
    #[arg(long, value_name = "N", conflicts_with = "tokenizer")]
    train_tokenizer: Option<usize>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Training")]
pub(super) struct TrainingArgs {
    /// Optimizer steps [default: the preset's]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Passes over the training data, instead of --steps; rounded up to whole steps
    #[arg(long, value_name = "E", conflicts_with = "steps")]
    pub(super) epochs: Option<f64>,
    /// Rows of a micro-batch [default: the preset's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Tokens per row [default: the preset's]
    #[arg(long, value_name = "N")]
    seq_len: Option<usize>,
    /// Micro-batches per optimizer step [default: the preset's]
    #[arg(long, value_name = "N")]
    accumulation: Option<usize>,
    /// Element type of the computation within a step; weights, optimizer, checkpoints, routers, softmax, the sums of
    /// norms and losses stay f32. Not every backend computes in bf16: wgpu, vulkan and metal do not [default: the
    /// preset's]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(&[Dtype::F32, Dtype::Bf16]))]
    precision: Option<Dtype>,
    /// Highest learning rate [default: the preset's]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Course of the learning rate [default: the preset's]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// How strongly a document's domain binds the router [default: the preset's]
    #[arg(long)]
    domains: Option<Domains>,
    /// Seed of every random draw [default: the preset's]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Steps between evaluations; 0: only at the end [default: the preset's]
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Steps between checkpoints; 0: only at the end [default: the preset's]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Number of newest checkpoints to keep, besides the best one on the validation text [default: the preset's]
    #[arg(long, value_name = "N")]
    keep_checkpoints: Option<usize>,
    /// Steps between lines of progress [default: the preset's]
    #[arg(long, value_name = "N")]
    log_every: Option<u64>,
    /// Do not measure energy, and leave expert loads out of the journal; training is not affected
    #[arg(long)]
    no_telemetry: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Schedule {
    /// Warm-up, stable, linear decay
    Wsd,
    /// Warm-up, then half a cosine
    Cosine,
}

impl From<Schedule> for ScheduleConfig {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Wsd => Self::default(),
            Schedule::Cosine => Self::Cosine {
                warmup: 0.05,
                min_ratio: 0.1,
            },
        }
    }
}

impl DataArgs {
    /// Applies the given arguments to an experiment.
    pub(super) fn apply(&self, experiment: &mut Experiment) {
        let data = &mut experiment.data;
        if !self.data.is_empty() {
            data.train.clone_from(&self.data);
            data.valid.clear();
        }
        if !self.valid.is_empty() {
            data.valid.clone_from(&self.valid);
        }
        data.valid_share = self.valid_share.or(data.valid_share);
        if self.no_valid {
            data.valid.clear();
            data.valid_share = Some(0.0);
        }
        if let Some(mix) = &self.mix {
            let shares = Domain::ALL.map(|domain| Some((domain, mix.weight(domain)?)));
            data.mix = shares.into_iter().flatten().collect();
        }
        set(&mut data.domain_dropout, self.domain_dropout);
        data.domain_token &= !self.no_domain_token;
        data.skip_bad_lines |= self.skip_bad_lines;
        data.unknown_domain = self.unknown_domain.or(data.unknown_domain);
        if self.text_field.is_some() {
            data.text_field.clone_from(&self.text_field);
        }
        if let Some(file) = &self.tokenizer {
            experiment.tokenizer = TokenizerConfig::File(file.clone());
        }
        if let Some(size) = self.train_tokenizer {
            experiment.tokenizer = TokenizerConfig::Train { vocab_size: None };
            experiment.model.vocab_size = size;
        }
    }
}

impl DataArgs {
    /// Whether validation is turned off.
    pub(super) fn goes_without(&self) -> bool {
        self.no_valid
    }

    /// The training documents, if files were named.
    pub(super) fn source(&self) -> Result<Option<Source>, Failure> {
        if self.data.is_empty() {
            return Ok(None);
        }
        let options = SourceOptions {
            skip_bad_lines: self.skip_bad_lines,
            unknown_domain: self.unknown_domain,
            text_field: self.text_field.clone(),
            day: None,
        };
        Source::open(&self.data, options).or_input().map(Some)
    }

    /// Enlarges the vocabulary of an automatically chosen model to fit the given tokenizer.
    pub(super) fn fit_vocabulary(&self, experiment: &mut Experiment) -> Result<(), Failure> {
        if let Some(file) = &self.tokenizer {
            let wanted = Tokenizer::from_file(file).or_input()?.vocab_size();
            let size = &mut experiment.model.vocab_size;
            *size = wanted.max(*size);
        }
        Ok(())
    }
}

impl TrainingArgs {
    /// Number of steps for `--epochs`, where an epoch has `epoch_tokens` tokens; `None` without `--epochs`.
    pub(super) fn steps_of_epochs(
        &self,
        training: &TrainingConfig,
        epoch_tokens: u64,
    ) -> Result<Option<u64>, Failure> {
        match self.epochs {
            None => Ok(None),
            Some(epochs) if epochs > 0.0 && epochs.is_finite() => {
                Ok(Some(training.steps_for(epochs * epoch_tokens as f64)))
            }
            Some(epochs) => Err(Failure::input(format!(
                "`--epochs` is {epochs}, expected a positive number"
            ))),
        }
    }

    /// Whether the training length was given, as steps or epochs.
    pub(super) fn has_length(&self) -> bool {
        self.steps.is_some() || self.epochs.is_some()
    }

    /// Applies the given arguments to an experiment.
    pub(super) fn apply(&self, experiment: &mut Experiment) {
        let training = &mut experiment.training;
        set(&mut training.steps, self.steps);
        set(&mut training.batch_size, self.batch_size);
        set(&mut training.seq_len, self.seq_len);
        set(&mut training.accumulation, self.accumulation);
        set(
            &mut training.precision,
            self.precision.and_then(Precision::of),
        );
        set(&mut training.learning_rate, self.learning_rate);
        set(&mut training.schedule, self.schedule.map(Into::into));
        set(&mut training.seed, self.seed);
        set(&mut training.eval_every, self.eval_every);
        set(&mut training.checkpoint_every, self.checkpoint_every);
        set(&mut training.keep_checkpoints, self.keep_checkpoints);
        set(&mut training.log_every, self.log_every);
        training.telemetry &= !self.no_telemetry;
        let mode = &mut experiment.model.domains.mode;
        set(mode, self.domains.map(Into::into));
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}
