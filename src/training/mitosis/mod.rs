//! Mitosis: experts divide while a model is trained.
//!
//! What an expert's division is, and why the model computes the same before and after, stands at
//! [`growth`](crate::model::routing::growth). Here is decided when which expert divides ([`schedule`](Mode::Schedule):
//! all of them after given steps; [`stress`](Mode::Stress): one that is asked for much and learns much), by which plane
//! its tokens are divided, and what becomes of the optimizer's moments. The learner's `optimize` calls it once per
//! optimizer step, after balancing.

mod config;
pub mod inheritance;
mod plane;
mod stress;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use config::{InheritedMoments, MitosisConfig, Mode, Schedule, StressRule};
pub use stress::LayerStress;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::data::PackedBatch;
use crate::model::routing::domain::DomainConfig;
use crate::model::routing::growth::{Change, Division, Inhibition, Roster};
use crate::model::routing::stats::{Demand, Observed};
use crate::telemetry::{DivisionRecord, MitosisRecord, RetirementRecord};

/// Most tokens that a plane is laid through.
const RESERVOIR: usize = 1024;

/// What a run's mitosis remembers from step to step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MitosisState {
    /// What was measured of the experts, by routed layer; empty before the first step, and on a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerStress>,
    /// What happened so far, oldest first.
    #[serde(default)]
    pub events: Vec<MitosisRecord>,
}

/// Experts that divided or went after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Grown {
    /// What happened to each routed layer.
    pub changes: Vec<Change>,
    /// The same for the run's metrics.
    pub record: MitosisRecord,
}

/// What one step of training knows of one layer's experts.
#[derive(Debug, Clone, Copy)]
struct Layer<'a> {
    roster: &'a Roster,
    demand: &'a Demand,
    gradients: &'a [f64],
    k: usize,
}

/// The mitosis of a run; clones share what it remembers.
#[derive(Debug, Clone, Default)]
pub struct Mitosis {
    config: Option<MitosisConfig>,
    /// Steps of the run.
    steps: u64,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: MitosisState,
    rows: Option<PackedBatch>,
    gradients: Vec<Vec<f64>>,
    grown: Option<Grown>,
}

impl Mitosis {
    /// That of a new run of `steps` steps; without a configuration no expert divides.
    pub fn new(config: Option<MitosisConfig>, steps: u64) -> Self {
        Self {
            config,
            steps,
            shared: Arc::default(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from what a checkpoint says.
    pub fn restore(&self, state: MitosisState) {
        self.shared().state = state;
    }

    /// What a checkpoint is to say; none where no expert divides.
    pub fn state(&self) -> Option<MitosisState> {
        let state = || self.shared().state.clone();
        self.config.is_some().then(state)
    }

    /// How long siblings are to keep out of each other's way.
    pub fn inhibition(&self) -> Inhibition {
        let config = self.config.as_ref();
        config.map_or_else(MitosisConfig::default_inhibition, MitosisConfig::inhibition)
    }

    /// What becomes of the moments of an expert that divides.
    pub fn moments(&self) -> InheritedMoments {
        let config = self.config.as_ref();
        config.map_or_else(InheritedMoments::default, |config| config.moments)
    }

    /// Whether experts may divide after a step, so that its tokens have to be looked at.
    pub fn is_due(&self, step: u64) -> bool {
        self.mode().is_some_and(|mode| match mode {
            Mode::Schedule(schedule) => schedule.at.contains(&step),
            Mode::Stress(rule) => step.is_multiple_of(rule.window),
        })
    }

    /// Whether every step is to measure demand and gradients.
    pub fn measures(&self) -> bool {
        matches!(self.mode(), Some(Mode::Stress(_)))
    }

    fn mode(&self) -> Option<&Mode> {
        self.config.as_ref().map(|config| &config.mode)
    }

    /// Keeps rows of the step, to compare the losses before and after.
    pub fn keep(&self, rows: &PackedBatch) {
        self.shared().rows = Some(rows.clone());
    }

    /// Takes the kept rows.
    pub fn take_rows(&self) -> Option<PackedBatch> {
        self.shared().rows.take()
    }

    /// Tells the squared norm of every expert's gradient, by routed layer.
    pub fn observe_gradients(&self, squares: Vec<Vec<f64>>) {
        self.shared().gradients = squares;
    }

    /// Leaves what happened for whoever holds the optimizer and the run's metrics.
    pub fn publish(&self, grown: Grown) {
        let mut shared = self.shared();
        shared.state.events.push(grown.record.clone());
        shared.grown = Some(grown);
    }

    /// Takes what happened after the last step, if anything did.
    pub fn take_grown(&self) -> Option<Grown> {
        self.shared().grown.take()
    }

    /// Decides what happens to the experts of every routed layer after `step`; `rosters` has none for a layer whose
    /// experts do not grow in number.
    pub fn decide(
        &self,
        step: u64,
        seen: &[Observed],
        rosters: &[Option<Roster>],
        domains: &DomainConfig,
    ) -> Grown {
        let mut shared = self.shared();
        let Shared {
            state, gradients, ..
        } = &mut *shared;
        let inhibition = self.inhibition();
        let mut record = MitosisRecord {
            step,
            ..MitosisRecord::default()
        };
        let mut changes = Vec::new();
        for (at, (seen, roster)) in seen.iter().zip(rosters).enumerate() {
            let mut change = Change {
                step,
                inhibition,
                ..Change::default()
            };
            if let (Some(roster), Some(demand), Some(mode)) = (roster, &seen.growth, self.mode()) {
                let layer = Layer {
                    roster,
                    demand,
                    gradients: gradients.get(at).map_or(&[], Vec::as_slice),
                    k: demand.k,
                };
                match mode {
                    Mode::Schedule(schedule) if schedule.at.contains(&step) => {
                        let parents = roster.in_use().filter(|&it| roster.is_settled(it));
                        divide(&mut change, &layer, parents.collect());
                    }
                    Mode::Schedule(_) => {}
                    Mode::Stress(rule) => {
                        if state.layers.len() <= at {
                            state.layers.resize_with(at + 1, LayerStress::default);
                        }
                        let stress = &mut state.layers[at];
                        stress.observe(&layer, rule);
                        if step.is_multiple_of(rule.window) {
                            stress.end_window(&layer, rule);
                            let ends = step + inhibition.steps() <= self.steps;
                            let late = step as f64 >= rule.until * self.steps as f64;
                            if ends && !late && step - stress.last_event >= rule.pause {
                                let stays = |left: &[Option<usize>]| domains.suits(left, layer.k);
                                change.retired = stress.idle(&layer, rule, stays);
                                let parents = stress.stressed(&layer, rule);
                                divide(&mut change, &layer, parents);
                            }
                        }
                    }
                }
                note(&mut record, at, &change, &layer, state.layers.get(at));
                if let Some(stress) = state.layers.get_mut(at) {
                    stress.inherit(&change);
                }
            }
            changes.push(change);
        }
        Grown { changes, record }
    }
}

/// Lets experts divide, the first ones first, as long as there are places.
fn divide(change: &mut Change, layer: &Layer<'_>, parents: Vec<usize>) {
    let freed = change.retired.iter().copied();
    let mut free: Vec<usize> = layer.roster.free().chain(freed).collect();
    free.sort_unstable();
    for (parent, child) in parents.into_iter().zip(free) {
        let sample = &layer.demand.sample;
        let own = plane::through(&sample.of_expert(parent, RESERVOIR));
        // an expert that the step did not visit is divided as all of its tokens are
        let plane = own.or_else(|| plane::through(&sample.all(RESERVOIR)));
        let plane = plane.unwrap_or_else(|| plane::Plane::flat(sample.width));
        change.divisions.push(Division {
            parent,
            child,
            normal: plane.normal,
            offset: plane.offset,
        });
    }
}

fn note(
    record: &mut MitosisRecord,
    at: usize,
    change: &Change,
    layer: &Layer<'_>,
    measured: Option<&LayerStress>,
) {
    let in_use = layer.roster.in_use().count() + change.divisions.len() - change.retired.len();
    record.experts_in_use.push(in_use);
    let sample = &layer.demand.sample;
    let divisions = change.divisions.iter().map(|division| DivisionRecord {
        layer: at,
        parent: division.parent,
        child: division.child,
        tokens: sample.of_expert(division.parent, RESERVOIR).len(),
        stress: measured.map(|it| it.stress(division.parent)),
    });
    record.divisions.extend(divisions);
    let retirements = change.retired.iter().map(|&expert| RetirementRecord {
        layer: at,
        expert,
        demand: measured.map_or(0.0, |it| it.demand(expert)),
    });
    record.retirements.extend(retirements);
}
