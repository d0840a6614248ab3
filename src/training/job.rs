//! A whole run: from an experiment to a trained model with its folder.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use burn::module::AutodiffModule;
use burn_train::logger::MetricLogger;
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn_train::metric::{MetricDefinition, NumericEntry};
use burn_train::{Learner, SupervisedTraining, TrainingStrategy};

use super::error::TrainingError;
use super::evaluate::{self, BatchEvaluation};
use super::feed::{TrainFeed, ValidFeed};
use super::metrics::StepMetric;
use super::screen::Lines;
use super::state::{self, RunState};
use super::strategy::{Session, Stepwise};
use super::texts::Texts;
use super::trainee::{TrainableMixer, TrainableRouter, Trainee, TrainingBackend};
use super::{AdamW, Schedule};
use crate::checkpoint::{Checkpoint, Keep, Run};
use crate::config::Experiment;
use crate::data::{Corpus, Progress, Stream, StreamConfig, Tags};
use crate::model::CausalLm;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::{Route, Router};
use crate::telemetry::report::{self, About};
use crate::telemetry::{EnergyMeter, EvalRecord, Journal, Record, energy_meter, read_journal};
use crate::tokenizer::Tokenizer;

/// Where a run shows what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// burn-train's dashboard.
    Dashboard,
    /// A line every few steps.
    Lines,
}

/// A run that is ready to train.
#[derive(Debug)]
pub struct Job {
    /// What to train, and how.
    pub experiment: Experiment,
    /// The run's folder.
    pub run: Run,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// The training text.
    pub train: Arc<Corpus>,
    /// The validation text, if there is any.
    pub valid: Option<Arc<Corpus>>,
    from: Option<Checkpoint>,
}

/// A model without the gradients that it was trained with.
pub type EvaluationModel<B, M, R> = <CausalLm<B, M, R> as AutodiffModule<B>>::InnerModule;

/// A run that has ended.
#[derive(Debug)]
pub struct Trained<M> {
    /// The trained model.
    pub model: M,
    /// The last evaluation, with the documents' tags and without.
    pub evaluation: EvalRecord,
}

impl Job {
    /// Prepares a new run: reads and tokenizes the text, then makes the run's folder.
    ///
    /// # Errors
    ///
    /// Text, tokenizer or folder that cannot be used; then there is no folder.
    pub fn create(
        experiment: Experiment,
        folder: &Path,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, TrainingError> {
        Run::check_new(folder)?;
        let texts = Texts::open(&experiment, cache)?;
        let tokenizer = texts.tokenizer(&experiment)?;
        Self::new(experiment, folder, texts, tokenizer, (cache, progress))
    }

    /// Prepares a new run of a model that has a tokenizer already: its weights go to
    /// [`train_model`](Self::train_model).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); a tokenizer with more tokens than the model.
    pub fn fine_tune(
        experiment: Experiment,
        tokenizer: Tokenizer,
        folder: &Path,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, TrainingError> {
        Run::check_new(folder)?;
        let texts = Texts::open(&experiment, cache)?;
        Self::new(experiment, folder, texts, tokenizer, (cache, progress))
    }

    fn new(
        experiment: Experiment,
        folder: &Path,
        texts: Texts,
        tokenizer: Tokenizer,
        (cache, progress): (&Path, Progress),
    ) -> Result<Self, TrainingError> {
        check(&experiment, &tokenizer)?;
        let (train, valid) = texts.corpora(&tokenizer, cache, progress)?;
        let run = Run::create(folder, &experiment, Some(tokenizer.json().as_bytes()))?;
        // with what its special tokens are for
        tokenizer.save(&run.tokenizer_path())?;
        Ok(Self {
            experiment,
            run,
            tokenizer,
            train,
            valid,
            from: None,
        })
    }

    /// Prepares to go on with a run from its last checkpoint.
    ///
    /// # Errors
    ///
    /// A folder that is no run or has no checkpoint, a damaged checkpoint, text that cannot be read.
    pub fn resume(
        experiment: Experiment,
        run: Run,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, TrainingError> {
        let Some(from) = run.latest()? else {
            return Err(TrainingError::NothingToResume {
                path: run.path().into(),
            });
        };
        let tokenizer = Tokenizer::from_file(&run.tokenizer_path())?;
        check(&experiment, &tokenizer)?;
        let texts = Texts::open(&experiment, cache)?;
        let (train, valid) = texts.corpora(&tokenizer, cache, progress)?;
        Ok(Self {
            experiment,
            run,
            tokenizer,
            train,
            valid,
            from: Some(from),
        })
    }

    /// Steps that are over already.
    pub fn steps_done(&self) -> u64 {
        self.from.as_ref().map_or(0, Checkpoint::step)
    }

    /// Trains the model that the experiment describes.
    ///
    /// # Errors
    ///
    /// What ended the run early; its checkpoints are intact.
    pub fn train<B: TrainingBackend>(
        self,
        device: &B::Device,
        screen: Screen,
    ) -> Result<Trained<CausalLm<B::InnerBackend>>, TrainingError> {
        let seed = self.experiment.training.seed;
        let model = CausalLm::<B>::init(&self.experiment.model, seed, device);
        self.train_model::<B, Mixer<B>, Router<B>>(model, device, screen)
    }

    /// Trains a model of the caller's own mixers and routers.
    ///
    /// # Errors
    ///
    /// What ended the run early; its checkpoints are intact.
    pub fn train_model<B, M, R>(
        self,
        model: CausalLm<B, M, R>,
        device: &B::Device,
        screen: Screen,
    ) -> Result<Trained<EvaluationModel<B, M, R>>, TrainingError>
    where
        B: TrainingBackend,
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let config = self.experiment.training.clone();
        config.precision.check::<B>(device)?;
        let optimizer = AdamW::<B>::new(&config);
        let (model, state) = match &self.from {
            None => (model, RunState::default()),
            Some(checkpoint) => {
                let (model, moments, state) = state::restore(checkpoint, model, device)?;
                optimizer.restore(moments);
                (model, state)
            }
        };
        let groups = config.groups.groups(&model, &self.experiment.model);
        let optimizer = optimizer.with_groups(groups);
        let valid = self.valid_feed();
        let mut journal = Journal::open(self.run.metrics_path(), state.step)?;
        if state.step == 0 {
            let record = evaluate(&model.valid(), &valid, &self.experiment, 0)?;
            journal.append(&Record::Eval(record))?;
        }

        let stream = Stream::new(
            self.train.clone(),
            self.stream_config()?,
            state.position.clone(),
        )?;
        let depths = self.experiment.model.num_nextn_predict_layers;
        let train = TrainFeed::new(
            stream,
            config.accumulation,
            depths,
            config.steps,
            state.step,
        );
        let domains = self.experiment.model.domains.clone();
        let schedule = Schedule::new(
            config.schedule.clone(),
            config.learning_rate,
            config.steps,
            state.step,
        );
        let keep = keep_newest(config.keep_checkpoints);
        let learner = Learner::new(
            Trainee::new(model, config.clone(), domains.clone()),
            optimizer.clone(),
            schedule,
        );
        let strategy = Arc::new(Stepwise::new(Session {
            domains,
            run: self.run.clone().with_keep(keep),
            journal,
            optimizer,
            train: train.clone(),
            corpus: self.train.clone(),
            valid: valid.clone(),
            state,
            meter: energy_meter(),
            config: config.clone(),
        }));
        let mut training =
            SupervisedTraining::new(self.run.path(), Arc::new(train), Arc::new(valid.clone()))
                .with_application_logger(None)
                .with_metric_logger(Unlogged)
                .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
                .metrics((
                    StepMetric::loss(),
                    StepMetric::mtp_loss(),
                    StepMetric::max_violation(),
                    StepMetric::gradient_norm(),
                    StepMetric::speed(),
                ));
        if screen == Screen::Lines {
            training = training.renderer(Lines::new(config.log_every));
        }
        let result = training.launch(learner);
        drop(result.renderer);
        strategy.outcome()?;

        let model = result.model.model;
        let mut session = strategy.session();
        let whole = ValidFeed {
            batches: 0,
            ..valid
        };
        let evaluation = evaluate(&model, &whole, &self.experiment, session.state.step)?;
        session.journal.append(&Record::Eval(evaluation.clone()))?;
        self.write_report(B::name(device), session.meter.as_deref())?;
        Ok(Trained { model, evaluation })
    }

    fn write_report(
        &self,
        backend: String,
        meter: Option<&dyn EnergyMeter>,
    ) -> Result<(), TrainingError> {
        let model = &self.experiment.model;
        let name = self.run.path().file_name();
        let about = About {
            run: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            model: format!(
                "Darkhorse, {} layers of width {}",
                model.num_hidden_layers, model.hidden_size
            ),
            num_params: model.num_params(),
            num_active_params: model.num_active_params(),
            num_steps: self.experiment.training.steps,
            backend,
            energy_source: meter.map(|meter| meter.name().to_owned()),
            config: self.experiment.to_json_pretty()?,
        };
        let records = read_journal(self.run.metrics_path())?;
        self.run.write_report(&report::render(&about, &records))?;
        Ok(())
    }

    /// The validation text in batches, as far as an evaluation during training goes.
    pub fn valid_feed(&self) -> ValidFeed {
        let config = &self.experiment.training;
        ValidFeed {
            corpus: self.valid.clone(),
            rows: config.batch_size,
            seq_len: config.seq_len,
            batches: config.eval_batches,
        }
    }

    fn stream_config(&self) -> Result<StreamConfig, TrainingError> {
        let (data, training) = (&self.experiment.data, &self.experiment.training);
        Ok(StreamConfig {
            seq_len: training.seq_len,
            rows: training.batch_size,
            mix: data.mix()?,
            domain_dropout: data.domain_dropout,
            domain_token: data.domain_token,
            seed: training.seed,
        })
    }
}

/// Evaluates with the documents' tags, and without.
///
/// # Errors
///
/// Text that cannot be read.
pub fn evaluate<B, M, R>(
    model: &CausalLm<B, M, R>,
    valid: &ValidFeed,
    experiment: &Experiment,
    step: u64,
) -> Result<EvalRecord, TrainingError>
where
    B: darkhorse_backends::Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let pass = |tags: Tags| -> Result<Option<BatchEvaluation>, TrainingError> {
        let mut sum = None;
        for rows in valid.pass(tags) {
            evaluate::merge(&mut sum, evaluate::evaluate_batch(model, &rows?));
        }
        Ok(sum)
    };
    let (tagged, untagged) = (pass(Tags::Given)?, pass(Tags::Dropped)?);
    let domains = &experiment.model.domains;
    Ok(evaluate::record(
        step,
        tagged.as_ref(),
        untagged.as_ref(),
        domains,
    ))
}

fn keep_newest(checkpoints: usize) -> Keep {
    NonZeroUsize::new(checkpoints).map_or(Keep::All, Keep::Newest)
}

fn check(experiment: &Experiment, tokenizer: &Tokenizer) -> Result<(), TrainingError> {
    if experiment.model.quantization.is_some() {
        return Err(TrainingError::InBlocks);
    }
    let model = &experiment.model;
    if tokenizer.vocab_size() > model.vocab_size {
        return Err(TrainingError::Vocabulary {
            tokenizer: tokenizer.vocab_size(),
            model: model.vocab_size,
        });
    }
    Ok(())
}

/// Keeps burn-train from writing metric files of its own: the journal has every number.
struct Unlogged;

impl MetricLogger for Unlogged {
    fn log(&mut self, _update: MetricsUpdate, _epoch: usize, _split: &Split) {}

    fn read_numeric(
        &mut self,
        _name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _definition: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
