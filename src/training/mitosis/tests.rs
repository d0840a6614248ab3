//! Mitosis in the learner's step: no jump, moments that go along, experts that go their own ways.

use burn::backend::Autodiff;
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Uniform};
use serde_json::json;

use super::{InheritedMoments, Mitosis, MitosisConfig, Mode, Schedule, StressRule, inheritance};
use crate::checkpoint::{self, CheckpointError};
use crate::config::Experiment;
use crate::data::{PackedBatch, UNTAGGED};
use crate::model::matrix::Matrix;
use crate::model::routing::growth::{Change, Roster};
use crate::model::routing::stats::{Demand, LoadCounts, Observed};
use crate::model::{CausalLm, ModelConfig};
use crate::telemetry::MitosisRecord;
use crate::training::batch::MicroBatch;
use crate::training::state::{self, Facts, RunState};
use crate::training::{AdamW, Trainee, TrainingConfig};

type B = Autodiff<Selected>;

const EXPERTS: usize = 4;

fn model() -> ModelConfig {
    let config = json!({
        "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "initializer_range": 0.2,
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "rope": {}, "domains": {"mode": "off"},
        "moe": {
            "n_routed_experts": 2 * EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
            "router": {"initial_experts": EXPERTS}
        }
    });
    serde_json::from_value(config).unwrap()
}

/// Rows in which a token mostly says which one comes next.
fn rows(step: u64) -> PackedBatch {
    const ROWS: usize = 8;
    const SEQ: usize = 64;
    let mut rng = ChaCha8Rng::seed_from_u64(step);
    let any = Uniform::new(0i32, 32).unwrap();
    let mut ids = Vec::new();
    for _ in 0..ROWS {
        let mut id = any.sample(&mut rng);
        for _ in 0..SEQ {
            ids.push(id);
            let noise = any.sample(&mut rng);
            id = if noise < 4 { noise } else { (id * 5 + 7) % 32 };
        }
    }
    let tokens = ROWS * SEQ;
    PackedBatch {
        rows: ROWS,
        seq_len: SEQ,
        ids,
        segments: (0..tokens).map(|at| (at / SEQ) as i32).collect(),
        positions: (0..tokens).map(|at| (at % SEQ) as i32).collect(),
        tags: vec![UNTAGGED; tokens],
        domains: vec![0; tokens],
        counted: vec![true; tokens],
        bytes: vec![1; tokens],
        documents: vec![vec![0]; ROWS],
    }
}

fn schedule(at: &[u64]) -> MitosisConfig {
    MitosisConfig {
        mode: Mode::Schedule(Schedule { at: at.to_vec() }),
        hold_steps: 6,
        fade_steps: 6,
        moments: Default::default(),
    }
}

/// A run step by step, as the learner's loop does it.
struct Run {
    trainee: Trainee<B>,
    optimizer: AdamW<B>,
    step: u64,
    losses: Vec<f64>,
    events: Vec<MitosisRecord>,
}

impl Run {
    fn new(mitosis: Option<MitosisConfig>) -> Self {
        let config = TrainingConfig {
            steps: 400,
            mitosis,
            ..TrainingConfig::default()
        };
        let model = model();
        let domains = model.domains.clone();
        let model = CausalLm::<B>::init(&model, 7, &Default::default());
        Self {
            optimizer: AdamW::new(&config),
            trainee: Trainee::new(model, config, domains),
            step: 0,
            losses: Vec::new(),
            events: Vec::new(),
        }
    }

    fn steps(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step += 1;
            for batch in MicroBatch::of_step(self.step, vec![rows(self.step)], 0) {
                let output = self.trainee.step(batch);
                let mitosis = self.trainee.mitosis();
                let grads = output.grads;
                if mitosis.measures() {
                    let model = &self.trainee.model;
                    let squares = inheritance::gradients_by_expert(model, &grads);
                    mitosis.observe_gradients(squares);
                }
                let optimizer = &mut self.optimizer;
                self.trainee = self.trainee.clone().optimize(optimizer, 3e-3, grads);
                self.losses.push(output.item.get().losses.next_token);
                if let Some(grown) = mitosis.take_grown() {
                    let factor = mitosis.moments().factor();
                    let model = &self.trainee.model;
                    inheritance::inherit(&self.optimizer, model, &grown.changes, factor);
                    self.events.push(grown.record);
                }
            }
        }
    }

    /// Gate projections of the first routed layer's experts.
    fn experts(&self) -> Vec<Vec<f32>> {
        let mut found = Vec::new();
        let _ = self.trainee.model.clone().map_moe(|layer, moe| {
            if layer == 0 {
                let values = moe.experts.gate_proj.val().into_data();
                let values: Vec<f32> = values.iter::<f32>().collect();
                let size = values.len() / (2 * EXPERTS);
                found = values.chunks(size).map(<[f32]>::to_vec).collect();
            }
            moe
        });
        found
    }

    fn loads(&self) -> Vec<Vec<u64>> {
        self.trainee.ledger().report().loads
    }
}

fn jump(event: &MitosisRecord) -> f64 {
    (event.loss_before.unwrap() - event.loss_after.unwrap()).abs()
}

#[test]
fn a_scheduled_division_does_not_move_the_loss() {
    let mut run = Run::new(Some(schedule(&[20])));
    run.steps(21);
    let [event] = &run.events[..] else {
        panic!("{:?}", run.events);
    };
    assert_eq!((event.step, event.divisions.len()), (20, 2 * EXPERTS));
    assert_eq!(event.experts_in_use, [2 * EXPERTS; 2]);
    assert!(jump(event) <= 1e-5, "{event:?}");
    assert!(event.loss_before.unwrap() > 0.0);
    assert!(event.divisions.iter().all(|it| it.tokens > 32), "{event:?}");
}

#[test]
fn places_that_wait_take_no_token_and_have_no_target() {
    let mut run = Run::new(Some(schedule(&[20])));
    run.steps(20);
    let report = run.trainee.ledger().report();
    for (loads, targets) in report.loads.iter().zip(&report.targets) {
        assert!(loads[EXPERTS..].iter().all(|&load| load == 0), "{loads:?}");
        assert!(
            targets[EXPERTS..].iter().all(|&it| it == 0.0),
            "{targets:?}"
        );
        let each = loads.iter().sum::<u64>() as f64 / EXPERTS as f64;
        assert_eq!(targets[..EXPERTS], [each; EXPERTS]);
    }
    run.steps(1);
    let report = run.trainee.ledger().report();
    assert!(report.loads[0].iter().all(|&load| load > 0));
    assert!(report.targets[0].iter().all(|&target| target > 0.0));
}

/// An optimizer that forgot an expert would leave it as it was.
#[test]
fn siblings_learn_from_the_first_step_on_each_by_itself() {
    let mut run = Run::new(Some(schedule(&[5])));
    run.steps(5);
    let before = run.experts();
    for parent in 0..EXPERTS {
        assert_eq!(before[parent], before[EXPERTS + parent]);
    }
    run.steps(1);
    let after = run.experts();
    for parent in 0..EXPERTS {
        let child = EXPERTS + parent;
        assert_ne!(after[parent], before[parent]);
        assert_ne!(after[child], before[child]);
        assert_ne!(after[parent], after[child]);
    }
}

#[test]
fn both_of_two_siblings_have_half_of_the_parents_moments() {
    siblings_have_moments(InheritedMoments::Halve, 0.5);
}

#[test]
fn moments_are_copied_or_begin_anew_if_that_is_asked_for() {
    siblings_have_moments(InheritedMoments::Copy, 1.0);
    siblings_have_moments(InheritedMoments::Reset, 0.0);
}

fn siblings_have_moments(moments: InheritedMoments, factor: f32) {
    let mut run = Run::new(Some(MitosisConfig {
        moments,
        ..schedule(&[5])
    }));
    run.steps(4);
    let mut id = None;
    let mut gate = None;
    let _ = run.trainee.model.clone().map_moe(|layer, moe| {
        if let (0, Matrix::Dense(weight)) = (layer, &moe.experts.up_proj) {
            id = Some(weight.id);
        }
        if let (0, Matrix::Dense(weight)) = (layer, &moe.router.gate.weight) {
            gate = Some(weight.id);
        }
        moe
    });
    let moments = |run: &Run, id| -> Vec<f32> {
        let state = run.optimizer.state();
        state.moments[&id]
            .second
            .clone()
            .into_data()
            .iter()
            .collect()
    };
    // what the optimizer leaves after step 5 without a division
    let mut plain = Run::new(None);
    plain.trainee = Trainee::new(
        run.trainee.model.clone(),
        TrainingConfig::default(),
        model().domains,
    );
    plain.optimizer = AdamW::new(&TrainingConfig::default());
    plain.optimizer.restore(run.optimizer.state());
    plain.step = 4;
    plain.steps(1);
    run.steps(1);
    let (before, after) = (moments(&plain, id.unwrap()), moments(&run, id.unwrap()));
    let size = before.len() / (2 * EXPERTS);
    for slot in 0..2 * EXPERTS {
        let parent = &before[slot % EXPERTS * size..][..size];
        let inherited: Vec<f32> = parent.iter().map(|value| value * factor).collect();
        assert_eq!(after[slot * size..][..size], inherited, "place {slot}");
    }
    let (before, after) = (moments(&plain, gate.unwrap()), moments(&run, gate.unwrap()));
    for (at, &value) in after.iter().enumerate() {
        let (row, slot) = (at / (2 * EXPERTS), at % (2 * EXPERTS));
        assert_eq!(value, before[row * 2 * EXPERTS + slot % EXPERTS] * factor);
    }
}

#[test]
fn a_run_that_grows_is_the_same_each_time() {
    let losses = || {
        let mut run = Run::new(Some(schedule(&[4])));
        run.steps(24);
        run.losses
    };
    assert_eq!(losses(), losses());
}

/// Neither when experts divide nor while siblings hold apart and open does the loss rise above what it scattered by.
#[test]
fn a_model_that_grows_does_not_stumble() {
    let mut small = Run::new(None);
    small.steps(80);
    let mut grown = Run::new(Some(schedule(&[60])));
    grown.steps(80);
    assert_eq!(small.losses[..60], grown.losses[..60]);
    assert_ne!(small.losses[60..], grown.losses[60..]);
    let before = &grown.losses[40..60];
    let mean = before.iter().sum::<f64>() / 20.0;
    let deviation = before.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / 19.0;
    let most = mean + 3.0 * deviation.sqrt();
    let after = &grown.losses[60..];
    assert!(after.iter().all(|&loss| loss <= most), "{most}: {after:?}");
}

/// Saved and read back while siblings hold apart, and again while they open.
#[test]
fn a_run_goes_on_exactly_from_the_middle_of_an_inhibition() {
    let stress = MitosisConfig {
        mode: Mode::Stress(eager()),
        ..schedule(&[])
    };
    for (mitosis, saved_at) in [(schedule(&[4]), 7), (schedule(&[4]), 13), (stress, 24)] {
        let mut whole = Run::new(Some(mitosis.clone()));
        whole.steps(saved_at);
        let folder = tempfile::tempdir().unwrap();
        let experiment = Experiment {
            model: model(),
            tokenizer: Default::default(),
            data: Default::default(),
            training: TrainingConfig::default(),
        };
        let (run, beginning) =
            checkpoint::Run::begin(folder.path(), &experiment, |_| Ok::<_, CheckpointError>(()))
                .unwrap();
        beginning.keep();
        let optimizer = whole.optimizer.state();
        let facts = Facts {
            experiment: &experiment,
            state: &RunState {
                step: saved_at,
                optimizer_time: optimizer.time,
                mitosis: whole.trainee.mitosis().state(),
                ..RunState::default()
            },
            valid: None,
        };
        state::save(&run, &whole.trainee.model, &optimizer, facts).unwrap();
        let checkpoint = run.latest().unwrap().unwrap();

        let mut half = Run::new(Some(mitosis));
        let fresh = half.trainee.model.clone();
        let device = Default::default();
        let (model, moments, state) = state::restore(&checkpoint, fresh, &device).unwrap();
        half.trainee.model = model;
        half.optimizer.restore(moments);
        half.trainee.mitosis().restore(state.mitosis.unwrap());
        half.step = saved_at;
        half.steps(16);
        whole.steps(16);
        assert_eq!(half.losses, whole.losses[saved_at as usize..]);
        assert_eq!(half.experts(), whole.experts());
        assert_eq!(
            half.trainee.mitosis().state(),
            whole.trainee.mitosis().state()
        );
    }
}

fn eager() -> StressRule {
    StressRule {
        window: 5,
        threshold: 1.02,
        windows: 2,
        pause: 10,
        until: 0.7,
        ..StressRule::default()
    }
}

#[test]
fn stressed_experts_divide_one_at_a_time_while_there_are_places() {
    let mut run = Run::new(Some(MitosisConfig {
        mode: Mode::Stress(eager()),
        ..schedule(&[])
    }));
    run.steps(100);
    assert!(!run.events.is_empty());
    let mut last = [0; 2];
    for event in &run.events {
        assert!(jump(event) <= 1e-5, "{event:?}");
        for division in &event.divisions {
            assert!(division.stress.unwrap() > 1.02);
            assert!(event.step - last[division.layer] >= 10, "{event:?}");
            last[division.layer] = event.step;
        }
        let of = |layer| event.divisions.iter().filter(move |it| it.layer == layer);
        assert!(of(0).count() <= 1 && of(1).count() <= 1, "{event:?}");
    }
    assert!(
        run.loads()
            .iter()
            .all(|loads| loads.iter().filter(|&&it| it > 0).count() > EXPERTS)
    );
    assert_eq!(run.trainee.mitosis().state().unwrap().events, run.events);
}

/// What is decided for a layer after `step`, whose first expert is asked for most and whose last one never.
fn decided(rule: StressRule, step: u64, in_use: usize) -> Change {
    let config = MitosisConfig {
        mode: Mode::Stress(rule),
        hold_steps: 2,
        fade_steps: 2,
        moments: Default::default(),
    };
    let mitosis = Mitosis::new(Some(config), 40);
    mitosis.observe_gradients(vec![vec![1.0; 8]]);
    let mut demand = Demand {
        k: 2,
        unbiased: vec![100; in_use],
        ..Demand::default()
    };
    demand.unbiased[0] = 400;
    demand.unbiased[in_use - 1] = 0;
    let seen = [Observed {
        counts: LoadCounts::new(8),
        margins: None,
        growth: Some(demand),
    }];
    let rosters = [Some(Roster::new(8, in_use))];
    let mut grown = mitosis.decide(step, &seen, &rosters, &model().domains);
    grown.changes.remove(0)
}

#[test]
fn experts_divide_at_the_end_of_a_window_between_a_pause_and_the_end() {
    let rule = StressRule {
        window: 2,
        threshold: 1.2,
        windows: 1,
        pause: 4,
        until: 1.0,
        idle_windows: 2,
        ..StressRule::default()
    };
    let divides = |rule: &StressRule, step| !decided(rule.clone(), step, 5).is_empty();
    assert!(divides(&rule, 4));
    assert!(!divides(&rule, 2), "it comes within the pause");
    assert!(!divides(&rule, 5), "it is within a window");
    // four steps later siblings are experts like any other
    assert!(divides(&rule, 36));
    assert!(!divides(&rule, 38), "the run ends before siblings are open");
    let early = StressRule { until: 0.5, ..rule };
    assert!(divides(&early, 18));
    assert!(!divides(&early, 20), "it comes too late");
}

#[test]
fn a_place_that_becomes_free_is_taken_at_once() {
    let rule = StressRule {
        window: 2,
        threshold: 1.2,
        windows: 1,
        pause: 0,
        until: 1.0,
        idle_windows: 1,
        ..StressRule::default()
    };
    let change = decided(rule, 4, 8);
    assert_eq!(change.retired, [7]);
    let divisions: Vec<_> = change
        .divisions
        .iter()
        .map(|it| (it.parent, it.child))
        .collect();
    assert_eq!(divisions, [(0, 7)]);
}
