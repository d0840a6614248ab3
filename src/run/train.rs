//! Training of a [`Job`]: from initial or checkpointed weights to a trained model and a report.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
use burn::tensor::backend::{Backend, DeviceOps};
use burn_train::{Learner, SupervisedTraining, TrainingStrategy};

use super::dashboard;
use super::error::RunError;
use super::evaluation::{Evaluation, Passes, has_evaluation};
use super::feed::{TrainFeed, ValidFeed};
use super::job::Job;
use super::metrics::StepMetric;
use super::samples::samples;
use super::screen::{Lines, Screen, Unlogged};
use super::state::{self, Facts, RunState};
use super::stop::Ending;
use super::strategy::{self, Session, Stepwise};
use super::summary;
use super::texts::stream_config;
use super::trained::{EvaluationModel, Trained};
use crate::checkpoint::{Checkpoint, Keep};
use crate::data::{Skipped, Stream};
use crate::model::CausalLm;
use crate::model::lora;
use crate::model::mixer::Mixer;
use crate::model::routing::Router;
use crate::telemetry::energy::{Meters, Monitor, Scope};
use crate::telemetry::report::{self, About};
use crate::telemetry::{Journal, Record, SamplesRecord, SkippedRecord, read_journal};
use crate::training::{
    AdamW, Schedule, TrainableMixer, TrainableRouter, Trainee, TrainingBackend, TrainingConfig,
};

/// Longest time for writing samples after a stop was requested; the weights are saved by then.
const PATIENCE_OF_STOPS: Duration = Duration::from_secs(5);

/// Origin of the initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    /// Drawn from the run's seed, reproducible at any time.
    Drawn,
    /// Given by the caller.
    Given,
}

impl Job {
    /// Trains the experiment's model, from the job's checkpoint if it resumes a run.
    ///
    /// # Errors
    ///
    /// The error that ended the run early; its checkpoints are intact.
    pub fn train<B: TrainingBackend>(
        self,
        device: &B::Device,
        screen: Screen,
    ) -> Result<Trained<CausalLm<B::InnerBackend>>, RunError> {
        let seed = self.experiment.training.seed;
        let model = CausalLm::<B>::init(&self.experiment.model, seed, device);
        self.train_from::<B, Mixer<B>, Router<B>>((model, Weights::Drawn), device, screen)
    }

    /// Trains a model that the caller built, possibly with its own mixers and routers.
    ///
    /// # Errors
    ///
    /// The error that ended the run early; its checkpoints are intact.
    pub fn train_model<B, M, R>(
        self,
        model: CausalLm<B, M, R>,
        device: &B::Device,
        screen: Screen,
    ) -> Result<Trained<EvaluationModel<B, M, R>>, RunError>
    where
        B: TrainingBackend,
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        self.train_from((model, Weights::Given), device, screen)
    }

    fn train_from<B, M, R>(
        mut self,
        (model, weights): (CausalLm<B, M, R>, Weights),
        device: &B::Device,
        screen: Screen,
    ) -> Result<Trained<EvaluationModel<B, M, R>>, RunError>
    where
        B: TrainingBackend,
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let beginning = self.beginning.take();
        let config = self.experiment.training.clone();
        config.precision.check::<B>(device)?;
        let optimizer = AdamW::<B>::new(&config);
        let model = match &config.lora {
            Some(lora) => lora::adapt(model, (&self.experiment.model, lora), config.seed)?,
            None => model,
        };
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
        let keep = keep_newest(config.keep_checkpoints);
        let run = self.run.clone().with_keep(keep);
        let mut saved = self.from.as_ref().map(Checkpoint::step);
        if weights == Weights::Given && saved.is_none() {
            // weights given by the caller cannot be drawn again
            let facts = Facts {
                experiment: &self.experiment,
                state: &state,
                valid: None,
            };
            state::save(&run, &model, &optimizer.state(), facts)?;
            saved = Some(state.step);
        }
        let mut journal = Journal::open(self.run.metrics_path(), state.step)?;
        let known = read_journal(self.run.metrics_path())?;
        let Skipped { count, examples } = &self.texts.skipped;
        let is_told = |record: &Record| matches!(record, Record::Skipped(_));
        if *count > 0 && !known.iter().any(is_told) {
            journal.append(&Record::Skipped(SkippedRecord {
                count: *count,
                examples: examples.clone(),
            }))?;
        }
        let mut measured = None;
        if state.step == 0 && !has_evaluation(&known, 0) {
            let model = model.valid();
            let first = self.evaluation(&valid, 0).measure(&model)?;
            match first {
                Some(first) => {
                    measured = strategy::measured(&valid, &first);
                    journal.append(&Record::Eval(first))?;
                }
                None if self.stop.is_asked() => {}
                None => valid.refuse_uncounted()?,
            }
        }
        if let (Some(0), Some((0, loss))) = (saved, &measured) {
            run.set_valid(0, loss.clone())?;
        }

        let stream = Stream::new(
            self.texts.train.clone(),
            stream_config(&self.experiment)?,
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
        let trainee = Trainee::new(model, config.clone(), domains);
        if let Some(mitosis) = &state.mitosis {
            trainee.mitosis().restore(mitosis.clone());
        }
        let learner = Learner::new(trainee, optimizer.clone(), schedule);
        let strategy = Arc::new(Stepwise::new(Session {
            experiment: self.experiment.clone(),
            run: run.clone(),
            journal,
            optimizer,
            train: train.clone(),
            corpus: self.texts.train.clone(),
            valid: valid.clone(),
            state,
            saved,
            measured,
            beginning,
            stop: self.stop.clone(),
            meter: energy_meter::<B>(&config, device),
            saved_at: Instant::now(),
            config: config.clone(),
        }));
        let mut training =
            SupervisedTraining::new(self.run.path(), Arc::new(train), Arc::new(valid.clone()))
                .with_application_logger(None)
                .with_metric_logger(Unlogged)
                .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
                .metric_train_numeric(StepMetric::loss());
        if depths > 0 {
            training = training.metric_train_numeric(StepMetric::mtp_loss());
        }
        if self.experiment.model.moe.is_some() {
            training = training.metric_train_numeric(StepMetric::max_violation());
        }
        training = training
            .metric_train_numeric(StepMetric::gradient_norm())
            .metric_train_numeric(StepMetric::speed());
        if valid.corpus.is_some() {
            training = training.metric_valid_numeric(StepMetric::loss());
        }
        training = match screen {
            Screen::Lines => training.renderer(Lines::new(config.log_every)),
            Screen::Nothing => training.renderer(Lines::none()),
            Screen::Dashboard => {
                let interrupter = training.interrupter();
                training.renderer(dashboard::open(interrupter))
            }
        };
        let result = training.launch(learner);
        drop(result.renderer);
        let mut ending = strategy.outcome()?;

        let model = result.model.model;
        let mut session = strategy.session();
        let steps = session.state.step;
        let mut evaluation = None;
        if ending == Ending::Finished {
            let whole = ValidFeed {
                batches: 0,
                ..valid
            };
            evaluation = self.evaluation(&whole, steps).measure(&model)?;
            match &evaluation {
                // no report is written, so that a resumption repeats the evaluation
                None if self.stop.is_asked() => ending = Ending::Stopped,
                None => {}
                Some(record) => {
                    if let Some((_, loss)) = strategy::measured(&whole, record) {
                        run.set_valid(steps, loss)?;
                    }
                    if !has_evaluation(&read_journal(run.metrics_path())?, steps) {
                        session.journal.append(&Record::Eval(record.clone()))?;
                    }
                }
            }
        }
        let mut written = Vec::new();
        if ending == Ending::Finished || steps < config.steps {
            if steps > 0 {
                let patience = match ending {
                    Ending::Finished => Duration::MAX,
                    Ending::Stopped => PATIENCE_OF_STOPS,
                };
                let (experiment, tokenizer) = (&self.experiment, &self.tokenizer);
                written = samples(&model, experiment, tokenizer, &self.texts.train, patience)?;
                session.journal.append(&Record::Samples(SamplesRecord {
                    step: steps,
                    samples: written.clone(),
                }))?;
            }
            self.write_report(
                <B::InnerBackend as Backend>::name(device),
                session.meter.as_ref().err().cloned(),
            )?;
        }
        Ok(Trained {
            model,
            steps,
            ending,
            evaluation,
            samples: written,
        })
    }

    fn write_report(
        &self,
        backend: String,
        energy_missing: Option<String>,
    ) -> Result<(), RunError> {
        let about = About {
            backend,
            energy_missing,
            ..summary::about(&self.experiment, &self.run)?
        };
        let records = read_journal(self.run.metrics_path())?;
        self.run.write_report(&report::render(&about, &records))?;
        Ok(())
    }

    /// An evaluation on `text`, with the documents' tags and without.
    fn evaluation<'a>(&'a self, text: &'a ValidFeed, step: u64) -> Evaluation<'a> {
        Evaluation {
            text,
            domains: &self.experiment.model.domains,
            passes: Passes::TaggedAndUntagged,
            step,
            stop: self.stop.clone(),
        }
    }

    /// The validation text in batches, up to the limit of evaluations during training.
    pub fn valid_feed(&self) -> ValidFeed {
        let config = &self.experiment.training;
        ValidFeed {
            corpus: self.texts.valid.clone(),
            rows: config.batch_size,
            seq_len: config.seq_len,
            batches: config.eval_batches,
        }
    }
}

/// The energy meters of the backend's devices, or the reason why there are none.
fn energy_meter<B: TrainingBackend>(
    config: &TrainingConfig,
    device: &B::Device,
) -> Result<Monitor, String> {
    if !config.telemetry {
        return Err("telemetry is off".to_owned());
    }
    let backend = <B::InnerBackend as Backend>::name(device);
    let scope = Scope::of_backend(&backend, Some(device.id().index_id.into()));
    let (meters, others) = Meters::of_machine(&scope).map_err(|missing| missing.to_string())?;
    for other in others.reasons {
        tracing::info!("energy: {other}");
    }
    Ok(Monitor::start(meters))
}

fn keep_newest(checkpoints: usize) -> Keep {
    NonZeroUsize::new(checkpoints).map_or(Keep::All, Keep::Newest)
}
