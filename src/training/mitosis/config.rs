//! When experts divide, and how the two grow apart.

use serde::{Deserialize, Serialize};

use crate::model::routing::growth::Inhibition;

/// Configuration of mitosis. It needs a model with free places: `initial_experts` of its router below
/// `n_routed_experts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MitosisConfig {
    /// When experts divide.
    pub mode: Mode,
    /// Steps during which siblings are closed to each other's tokens.
    #[serde(default = "apart")]
    pub hold_steps: u64,
    /// Steps over which they open to each other's tokens.
    #[serde(default = "apart")]
    pub fade_steps: u64,
    /// What becomes of the optimizer's moments.
    #[serde(default)]
    pub moments: InheritedMoments,
}

fn apart() -> u64 {
    500
}

/// When experts divide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All experts divide after given steps.
    Schedule(Schedule),
    /// An expert divides that is asked for much and has much to learn; one that nobody asks for goes.
    Stress(StressRule),
}

/// Steps after which all experts divide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The steps, rising.
    pub at: Vec<u64>,
}

/// Which experts divide and go by themselves.
///
/// The stress of an expert is the root of its demand (how often tokens would choose it if no bias evened out the loads,
/// relative to an even load) times its squared gradient norm, relative to the mean of its layer. A balanced router hides
/// demand in its biases, so that the load says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StressRule {
    /// Steps of a window, and of the mean that is looked at at its end.
    pub window: u64,
    /// An expert divides with more stress than this,
    pub threshold: f64,
    /// in so many windows on end.
    pub windows: u32,
    /// Fewest steps between two events of a layer, and before the first.
    pub pause: u64,
    /// Share of the run's steps after which nothing happens any more.
    pub until: f64,
    /// An expert goes with less demand than this,
    pub idle_below: f64,
    /// in so many windows on end.
    pub idle_windows: u32,
}

impl Default for StressRule {
    fn default() -> Self {
        Self {
            window: 200,
            threshold: 1.5,
            windows: 3,
            pause: 1000,
            until: 0.7,
            idle_below: 0.1,
            idle_windows: 5,
        }
    }
}

/// What becomes of the optimizer's moments of an expert that divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InheritedMoments {
    /// Both have half of them. Each sees half of the tokens: the first moment halves, the second falls to between a
    /// quarter and a half, so that no step is longer than it would have been.
    #[default]
    Halve,
    /// Both have all of them.
    Copy,
    /// Both begin with none.
    Reset,
}

impl InheritedMoments {
    /// Factor on both moments.
    pub fn factor(self) -> f32 {
        match self {
            Self::Halve => 0.5,
            Self::Copy => 1.0,
            Self::Reset => 0.0,
        }
    }
}

impl MitosisConfig {
    /// How long siblings keep out of each other's way.
    pub fn inhibition(&self) -> Inhibition {
        Inhibition {
            hold: self.hold_steps,
            fade: self.fade_steps,
        }
    }

    /// That of a run that goes on without mitosis while siblings are apart.
    pub(super) fn default_inhibition() -> Inhibition {
        Inhibition {
            hold: apart(),
            fade: apart(),
        }
    }
}
