//! When experts divide, and how the two grow apart.

use serde::{Deserialize, Serialize};

use crate::model::routing::growth::Inhibition;
use crate::training::OutOfRange;

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

impl Schedule {
    /// Divisions follow each other when siblings are experts like any other, and end before the run does.
    fn validate(&self, apart: u64, steps: u64) -> Result<(), OutOfRange> {
        let why = format!("siblings grow apart for {apart} steps, `hold_steps` and `fade_steps`");
        let last = steps.saturating_sub(apart);
        let mut earliest = 1;
        for (index, &step) in self.at.iter().enumerate() {
            let path = format!("at[{index}]");
            let wanted = if earliest <= last {
                format!("{earliest} to {last}")
            } else {
                "another schedule".into()
            };
            let expected = format!("{wanted}: {why}, and the run has {steps}");
            OutOfRange::check((earliest..=last).contains(&step), &path, step, expected)?;
            earliest = step + apart + 1;
        }
        Ok(())
    }
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

impl StressRule {
    fn validate(&self) -> Result<(), OutOfRange> {
        for (field, value) in [
            ("window", self.window),
            ("windows", self.windows.into()),
            ("idle_windows", self.idle_windows.into()),
        ] {
            OutOfRange::check(value > 0, field, value, "at least 1")?;
        }
        OutOfRange::positive("threshold", self.threshold)?;
        OutOfRange::fraction("until", self.until)?;
        OutOfRange::fraction("idle_below", self.idle_below)
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

    /// Checks the values for a run of `steps` steps.
    ///
    /// # Errors
    ///
    /// The first that does not fit, by its path within this section.
    pub fn validate(&self, steps: u64) -> Result<(), OutOfRange> {
        OutOfRange::check(
            self.hold_steps > 0,
            "hold_steps",
            self.hold_steps,
            "at least 1: siblings that are open to each other's tokens at once change what the model computes",
        )?;
        let apart = self.inhibition().steps();
        match &self.mode {
            Mode::Schedule(schedule) => schedule
                .validate(apart, steps)
                .map_err(|error| error.within("mode.schedule")),
            Mode::Stress(rule) => rule.validate().map_err(|error| error.within("mode.stress")),
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
