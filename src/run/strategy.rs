//! The training loop around burn-train's learner, with checkpoints that resume exactly.
//!
//! burn-train's own loop counts epochs, drops incomplete groups of micro-batches and does not keep the position of
//! the data; this one counts optimizer steps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::module::AutodiffModule;
use burn::optim::GradientsAccumulator;
use burn_train::{
    EventProcessorTraining, Learner, LearnerEvent, LearningComponentsMarker,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};

use super::error::RunError;
use super::evaluation::{Evaluation, Passes};
use super::feed::{TrainFeed, ValidFeed};
use super::state::{self, Facts, RunState};
use super::stop::{Ending, Stop};
use crate::checkpoint::{Beginning, Run, ValidLoss};
use crate::config::Experiment;
use crate::data::{Corpus, Origin, PackedBatch};
use crate::telemetry::energy::{Energy, Monitor};
use crate::telemetry::{EvalRecord, Journal, MitosisRecord, Record, StepRecord};
use crate::training::batch::MicroBatch;
use crate::training::ledger::Deferred;
use crate::training::mitosis::inheritance;
use crate::training::{
    AdamW, Schedule, StepLosses, StepReport, TrainableMixer, TrainableRouter, Trainee,
    TrainingBackend, TrainingConfig,
};

/// burn-train's learning components for our model, optimizer and schedule.
pub type Components<B, M, R> = LearningComponentsMarker<B, Schedule, Trainee<B, M, R>, AdamW<B>>;

/// State of the training loop besides the learner.
#[derive(Debug)]
pub struct Session<B: TrainingBackend> {
    /// Training settings.
    pub config: TrainingConfig,
    /// The experiment that checkpoints store.
    pub experiment: Experiment,
    /// The run's folder.
    pub run: Run,
    /// The run's journal.
    pub journal: Journal,
    /// The learner's optimizer.
    pub optimizer: AdamW<B>,
    /// The learner's training data.
    pub train: TrainFeed,
    /// The training text, used to name documents in errors.
    pub corpus: Arc<Corpus>,
    /// The validation data.
    pub valid: ValidFeed,
    /// The training state.
    pub state: RunState,
    /// Step of the newest checkpoint.
    pub saved: Option<u64>,
    /// The latest loss on the validation text, with its step.
    pub measured: Option<(u64, ValidLoss)>,
    /// Of a new run: removes its folder if not even one step succeeds.
    pub beginning: Option<Beginning>,
    /// Requests an early stop.
    pub stop: Stop,
    /// The energy meter, or the reason why energy cannot be measured.
    pub meter: Result<Monitor, String>,
    /// Time of the last checkpoint, or of the run's start.
    pub saved_at: Instant,
}

/// Longest training time without a checkpoint, whatever `checkpoint_every` says.
pub const LONGEST_UNSAVED: Duration = Duration::from_secs(600);

/// Whether a checkpoint is due after a step: by number, after the last step, or by time since the last one.
fn is_save_due(step: u64, config: &TrainingConfig, unsaved: Duration) -> bool {
    let every = config.checkpoint_every;
    step >= config.steps || (every > 0 && step.is_multiple_of(every)) || unsaved >= LONGEST_UNSAVED
}

/// Sum of the weighted auxiliary losses of the routers; `None` if there are none.
fn auxiliary(losses: &StepLosses, seq_aux_alpha: f64) -> Option<f64> {
    let sequence = losses.balance.filter(|_| seq_aux_alpha > 0.0);
    let parts = [sequence.map(|loss| loss * seq_aux_alpha), losses.routers];
    parts.into_iter().flatten().reduce(|sum, part| sum + part)
}

/// The training loop as a learning strategy of burn-train.
#[derive(Debug)]
pub struct Stepwise<B: TrainingBackend> {
    session: Mutex<Session<B>>,
    outcome: Mutex<Result<Ending, RunError>>,
}

impl<B: TrainingBackend> Stepwise<B> {
    /// Wraps a session.
    pub fn new(session: Session<B>) -> Self {
        Self {
            session: Mutex::new(session),
            outcome: Mutex::new(Ok(Ending::Finished)),
        }
    }

    /// The outcome of the loop. Call it once: an error is returned only the first time.
    ///
    /// # Errors
    ///
    /// The error that ended the loop early.
    pub fn outcome(&self) -> Result<Ending, RunError> {
        std::mem::replace(&mut lock(&self.outcome), Ok(Ending::Finished))
    }

    /// The session, before or after the loop.
    pub fn session(&self) -> MutexGuard<'_, Session<B>> {
        lock(&self.session)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B, M, R> SupervisedLearningStrategy<Components<B, M, R>> for Stepwise<B>
where
    B: TrainingBackend,
    M: TrainableMixer<B>,
    R: TrainableRouter<B>,
{
    fn fit(
        &self,
        components: TrainingComponents<Components<B, M, R>>,
        mut learner: Learner<Components<B, M, R>>,
        train: TrainLoader<Components<B, M, R>>,
        _valid: ValidLoader<Components<B, M, R>>,
        _starting_epoch: usize,
    ) -> (
        Trainee<B, M, R>,
        SupervisedTrainingEventProcessor<Components<B, M, R>>,
    ) {
        let mut processor = components.event_processor;
        let mut session = self.session();
        let mut batches = train.iter();
        let outcome = loop {
            if session.state.step >= session.config.steps {
                break Ok(Ending::Finished);
            }
            if session.stop.is_asked() || components.interrupter.should_stop() {
                break session.save_what_is_new(&learner);
            }
            if let Err(error) = session.advance(&mut learner, &mut *batches, &mut processor) {
                break Err(error);
            }
        };
        *lock(&self.outcome) = outcome;
        (learner.model(), processor)
    }
}

impl<B: TrainingBackend> Session<B> {
    /// Does one optimizer step, then the evaluation and the checkpoint that are due.
    fn advance<M, R>(
        &mut self,
        learner: &mut Learner<Components<B, M, R>>,
        batches: &mut dyn DataLoaderIterator<MicroBatch>,
        processor: &mut SupervisedTrainingEventProcessor<Components<B, M, R>>,
    ) -> Result<(), RunError>
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let (record, mitosis) = self.train_step(learner, batches)?;
        let step = record.step;
        self.report::<M, R>(&record, learner.lr_current(), processor);
        self.journal.append(&Record::Step(record))?;
        if let Some(mitosis) = mitosis {
            self.journal.append(&Record::Mitosis(mitosis))?;
        }
        self.keep_run();

        let last = step >= self.config.steps;
        let due = |every: u64| every > 0 && step.is_multiple_of(every);
        if due(self.config.eval_every)
            && !last
            && let Some(evaluation) = self.evaluate(learner, processor)?
        {
            self.measured = measured(&self.valid, &evaluation);
            self.journal.append(&Record::Eval(evaluation))?;
        }
        if is_save_due(step, &self.config, self.saved_at.elapsed()) {
            self.save(learner)?;
        }
        Ok(())
    }

    fn train_step<M, R>(
        &mut self,
        learner: &mut Learner<Components<B, M, R>>,
        batches: &mut dyn DataLoaderIterator<MicroBatch>,
    ) -> Result<(StepRecord, Option<MitosisRecord>), RunError>
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let energy_before = self.meter.as_ref().ok().map(Monitor::sample);
        let begin = Instant::now();
        let mut accumulator = GradientsAccumulator::new();
        let mut pending = Vec::new();
        let mut documents = Vec::new();
        for _ in 0..self.config.accumulation {
            let Some(batch) = batches.next() else {
                let (step, steps) = (self.state.step + 1, self.config.steps);
                return Err(self.train.ended(step, steps, self.saved));
            };
            documents.extend(batch.rows.documents.iter().flatten().copied());
            if batch.totals.targets[0] == 0 {
                return Err(self.nothing_to_learn(&batch.rows));
            }
            let output = learner.train_step(batch);
            accumulator.accumulate(&learner.model(), output.grads);
            pending.push(output.item);
        }
        let mut losses = StepLosses::default();
        for report in pending {
            losses.add(report.get().losses);
        }
        if !losses.is_finite() {
            return Err(self.not_finite(losses, &documents));
        }
        learner.lr_step();
        let grads = accumulator.grads();
        let mitosis = learner.model().mitosis();
        if mitosis.measures() {
            let squares = inheritance::gradients_by_expert(&learner.model().model, &grads);
            mitosis.observe_gradients(squares);
        }
        learner.optimizer_step(grads);
        let grown = mitosis.take_grown();
        if let Some(grown) = &grown {
            let factor = mitosis.moments().factor();
            inheritance::inherit(
                &self.optimizer,
                &learner.model().model,
                &grown.changes,
                factor,
            );
        }
        self.state.mitosis = mitosis.state();

        let balance = learner.model().ledger().report();
        let max_vio_batch = balance.max_violation();
        let (mut expert_loads, mut null_loads) = <(Vec<_>, Vec<_>)>::default();
        if self.config.telemetry {
            expert_loads.clone_from(&balance.loads);
            if balance.null_loads.iter().any(|layer| !layer.is_empty()) {
                null_loads.clone_from(&balance.null_loads);
            }
        }
        self.state.window.push(balance);
        self.state.step += 1;
        let tokens = self.config.tokens_per_step();
        self.state.tokens = self.state.tokens.saturating_add(tokens);
        let duration_s = begin.elapsed().as_secs_f64();
        let energy_now = self.meter.as_ref().ok().map(Monitor::sample);
        let energy = energy_now.zip(energy_before);
        let energy = energy.map(|(now, before)| now.since(&before));
        let energy_j = energy.as_ref().and_then(Energy::joules);
        let energy_source = energy.filter(|_| energy_j.is_some());
        let record = StepRecord {
            step: self.state.step,
            tokens: self.state.tokens,
            loss: losses.next_token,
            mtp_loss: losses.mtp,
            aux_loss: auxiliary(&losses, self.config.seq_aux_alpha),
            lr: learner.lr_current(),
            grad_norm: self.optimizer.state().gradient_norm,
            max_vio_batch,
            max_vio_global: self.state.window.max_violation(),
            tokens_per_s: self.config.tokens_per_step() as f64 / duration_s,
            duration_s,
            energy_j,
            energy_source: energy_source.map(|energy| energy.source()),
            expert_loads,
            null_loads,
        };
        Ok((record, grown.map(|grown| grown.record)))
    }

    fn not_finite(&self, losses: StepLosses, documents: &[usize]) -> RunError {
        RunError::NotFinite {
            step: self.state.step + 1,
            next_token: losses.next_token,
            mtp: losses.mtp,
            documents: self.origins(documents),
            saved: self.saved,
        }
    }

    fn nothing_to_learn(&self, rows: &PackedBatch) -> RunError {
        RunError::NothingToLearn {
            step: self.state.step + 1,
            reason: rows.into(),
            documents: self.origins(&rows.documents.concat()),
        }
    }

    fn origins(&self, documents: &[usize]) -> Vec<Origin> {
        let origins = documents
            .iter()
            .filter_map(|&number| self.corpus.origin(number).ok());
        origins.collect()
    }

    fn report<M, R>(
        &self,
        record: &StepRecord,
        lr: f64,
        processor: &mut SupervisedTrainingEventProcessor<Components<B, M, R>>,
    ) where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let report = StepReport {
            losses: StepLosses {
                next_token: record.loss,
                mtp: record.mtp_loss,
                balance: record.aux_loss,
                routers: None,
            },
            gradient_norm: Some(record.grad_norm),
            max_violation: record.max_vio_global,
            tokens_per_s: Some(record.tokens_per_s),
        };
        let progress = Progress::new(record.step as usize, self.config.steps as usize);
        processor.process_train(LearnerEvent::ProcessedItem(TrainingItem::new(
            Deferred::Ready(report),
            progress.clone(),
            progress,
            Some(record.step as usize),
            Some(lr),
        )));
    }

    fn evaluate<M, R>(
        &self,
        learner: &Learner<Components<B, M, R>>,
        processor: &mut SupervisedTrainingEventProcessor<Components<B, M, R>>,
    ) -> Result<Option<EvalRecord>, RunError>
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let evaluation = Evaluation {
            text: &self.valid,
            domains: &self.experiment.model.domains,
            passes: Passes::Tagged,
            step: self.state.step,
            stop: self.stop.clone(),
        };
        let record = evaluation.measure(&learner.model().valid().model)?;
        if let Some(record) = &record {
            let step = record.step;
            let progress = Progress::new(step as usize, self.config.steps as usize);
            processor.process_valid(LearnerEvent::ProcessedItem(TrainingItem::new(
                StepReport::of_loss(record.loss),
                progress.clone(),
                progress,
                Some(step as usize),
                None,
            )));
        }
        Ok(record)
    }

    /// Writes a checkpoint of the current state.
    fn save<M, R>(&mut self, learner: &Learner<Components<B, M, R>>) -> Result<(), RunError>
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        let optimizer = self.optimizer.state();
        self.state.optimizer_time = optimizer.time;
        self.state.position = self.train.position();
        let (step, measured) = (self.state.step, self.measured.clone());
        let facts = Facts {
            experiment: &self.experiment,
            state: &self.state,
            valid: measured.and_then(|(at, loss)| (at == step).then_some(loss)),
        };
        state::save(&self.run, &learner.model().model, &optimizer, facts)?;
        self.saved = Some(step);
        self.saved_at = Instant::now();
        Ok(())
    }

    fn keep_run(&mut self) {
        self.beginning.take().into_iter().for_each(Beginning::keep);
    }

    /// Saves the current state for an early end; there is nothing to save before the first step.
    fn save_what_is_new<M, R>(
        &mut self,
        learner: &Learner<Components<B, M, R>>,
    ) -> Result<Ending, RunError>
    where
        M: TrainableMixer<B>,
        R: TrainableRouter<B>,
    {
        if self.state.step > self.saved.unwrap_or(0) {
            self.save(learner)?;
        }
        self.keep_run();
        Ok(Ending::Stopped)
    }
}

/// The validation loss for a checkpoint's manifest; `None` if it is not finite.
pub(super) fn measured(valid: &ValidFeed, evaluation: &EvalRecord) -> Option<(u64, ValidLoss)> {
    let on = valid.measure()?;
    let loss = evaluation.loss;
    loss.is_finite()
        .then_some((evaluation.step, ValidLoss { loss, on }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_number_at_the_end_and_at_the_latest_after_ten_minutes() {
        let every = |checkpoint_every| TrainingConfig {
            steps: 50,
            checkpoint_every,
            ..Default::default()
        };
        let short = Duration::from_secs(599);
        assert!(is_save_due(20, &every(10), short));
        assert!(!is_save_due(21, &every(10), short));
        assert!(is_save_due(21, &every(10), LONGEST_UNSAVED));
        assert!(!is_save_due(20, &every(0), short));
        assert!(is_save_due(20, &every(0), LONGEST_UNSAVED));
        assert!(is_save_due(50, &every(0), Duration::ZERO));
    }
}
