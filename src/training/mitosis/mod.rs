//! Mitosis: experts divide during training.
//!
//! [`growth`](crate::model::routing::growth) defines a division and explains why it leaves the model's output
//! unchanged. This module decides when which expert divides ([`schedule`](Mode::Schedule): all experts after given
//! steps; [`stress`](Mode::Stress): experts with high demand and large gradients), by which plane its tokens are
//! divided, and how its optimizer moments are passed on. The learner's `optimize` calls it once per optimizer step,
//! after balancing.

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

/// Maximum number of tokens from which a plane is computed.
const RESERVOIR: usize = 1024;

/// State of a run's mitosis, stored in checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MitosisState {
    /// Measurements of the experts, by MoE layer; empty before the first step, and with a schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerStress>,
    /// All events so far, oldest first.
    #[serde(default)]
    pub events: Vec<MitosisRecord>,
}

/// Divisions and retirements after a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Grown {
    /// Change of each MoE layer.
    pub changes: Vec<Change>,
    /// The changes as a record for the run's metrics.
    pub record: MitosisRecord,
}

/// Measurements of one layer's experts in one step.
#[derive(Debug, Clone, Copy)]
struct Layer<'a> {
    roster: &'a Roster,
    demand: &'a Demand,
    gradients: &'a [f64],
    k: usize,
}

/// Mitosis of a run; clones share its state.
#[derive(Debug, Clone, Default)]
pub struct Mitosis {
    config: Option<MitosisConfig>,
    /// Number of steps of the run.
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
    /// Mitosis of a new run of `steps` steps; without a configuration no expert divides.
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

    /// Restores the state of a checkpoint.
    pub fn restore(&self, state: MitosisState) {
        self.shared().state = state;
    }

    /// State for a checkpoint; `None` if mitosis is off.
    pub fn state(&self) -> Option<MitosisState> {
        let state = || self.shared().state.clone();
        self.config.is_some().then(state)
    }

    /// Duration of sibling inhibition.
    pub fn inhibition(&self) -> Inhibition {
        let config = self.config.as_ref();
        config.map_or_else(MitosisConfig::default_inhibition, MitosisConfig::inhibition)
    }

    /// How the optimizer moments of a dividing expert are passed on.
    pub fn moments(&self) -> InheritedMoments {
        let config = self.config.as_ref();
        config.map_or_else(InheritedMoments::default, |config| config.moments)
    }

    /// Whether experts may divide after `step`, so that its tokens must be sampled.
    pub fn is_due(&self, step: u64) -> bool {
        self.mode().is_some_and(|mode| match mode {
            Mode::Schedule(schedule) => schedule.at.contains(&step),
            Mode::Stress(rule) => step.is_multiple_of(rule.window),
        })
    }

    /// Whether demand and gradients must be measured in every step.
    pub fn measures(&self) -> bool {
        matches!(self.mode(), Some(Mode::Stress(_)))
    }

    fn mode(&self) -> Option<&Mode> {
        self.config.as_ref().map(|config| &config.mode)
    }

    /// Keeps rows of the step, to compare the loss before and after a division.
    pub fn keep(&self, rows: &PackedBatch) {
        self.shared().rows = Some(rows.clone());
    }

    /// Takes the kept rows.
    pub fn take_rows(&self) -> Option<PackedBatch> {
        self.shared().rows.take()
    }

    /// Sets the squared gradient norm of every expert, by MoE layer.
    pub fn observe_gradients(&self, squares: Vec<Vec<f64>>) {
        self.shared().gradients = squares;
    }

    /// Stores an event for the owner of the optimizer and for the run's metrics.
    pub fn publish(&self, grown: Grown) {
        let mut shared = self.shared();
        shared.state.events.push(grown.record.clone());
        shared.grown = Some(grown);
    }

    /// Takes the event of the last step, if there was one.
    pub fn take_grown(&self) -> Option<Grown> {
        self.shared().grown.take()
    }

    /// Decides the changes of every MoE layer after `step`. `rosters` is `None` for layers with a fixed number of
    /// experts.
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

/// Divides `parents`, in order, while there are free places.
fn divide(change: &mut Change, layer: &Layer<'_>, parents: Vec<usize>) {
    let freed = change.retired.iter().copied();
    let mut free: Vec<usize> = layer.roster.free().chain(freed).collect();
    free.sort_unstable();
    for (parent, child) in parents.into_iter().zip(free) {
        let sample = &layer.demand.sample;
        let own = plane::through(&sample.of_expert(parent, RESERVOIR));
        // the plane of an expert without tokens in this step is computed from all tokens
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
