//! Mitosis in the learner's step: the loss does not jump, moments are inherited, and siblings grow apart.

use super::testing::{EXPERTS, Run, eager, model, schedule};
use super::{InheritedMoments, Mitosis, MitosisConfig, Mode, StressRule};
use crate::model::matrix::Matrix;
use crate::model::routing::growth::{Change, Roster};
use crate::model::routing::stats::{Demand, LoadCounts, Observed};
use crate::telemetry::MitosisRecord;
use crate::training::{AdamW, Trainee, TrainingConfig};

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

/// An optimizer that ignored an expert would leave its weights unchanged.
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
    // optimizer state after step 5 without a division
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

/// The loss rises above its previous scatter neither when experts divide nor while inhibition holds and fades.
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

/// Change decided for a layer after `step`, with most demand for the first expert and none for the last.
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
    // four steps later siblings are ordinary experts
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
