//! Configuration of mitosis.

use serde::{Deserialize, Serialize};

use crate::model::routing::growth::Inhibition;
use crate::training::OutOfRange;

/// Configuration of mitosis. It requires a model with free places: `initial_experts` of its router below
/// `n_routed_experts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MitosisConfig {
    /// When experts divide.
    pub mode: Mode,
    /// Steps during which siblings are closed to each other's tokens.
    #[serde(default = "apart")]
    pub hold_steps: u64,
    /// Steps over which they gradually open to each other's tokens.
    #[serde(default = "apart")]
    pub fade_steps: u64,
    /// How the optimizer moments of a dividing expert are passed on.
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
    /// Experts with high demand and large gradients divide; experts without demand retire.
    Stress(StressRule),
}

/// Steps after which all experts divide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The steps, ascending.
    pub at: Vec<u64>,
}

impl Schedule {
    /// A division must not start before the siblings of the previous one are ordinary experts, and must end within
    /// the run.
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

/// Rule by which experts divide and retire.
///
/// The stress of an expert is `sqrt(demand * gradient)`, where `demand` is how often tokens would choose it without
/// bias, relative to an even load, and `gradient` is its squared gradient norm, relative to the layer's mean. The
/// load itself is no measure, because balancing hides demand in the bias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StressRule {
    /// Number of steps per window, over which demand and gradients are averaged.
    pub window: u64,
    /// Stress above which an expert divides, after `windows` consecutive windows.
    pub threshold: f64,
    /// Number of consecutive windows with stress above `threshold` before an expert divides.
    pub windows: u32,
    /// Minimum number of steps between two events of a layer, and before the first.
    pub pause: u64,
    /// Fraction of the run's steps after which no more events happen.
    pub until: f64,
    /// Demand below which an expert retires, after `idle_windows` consecutive windows.
    pub idle_below: f64,
    /// Number of consecutive windows with demand below `idle_below` before an expert retires.
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

/// How the optimizer moments of a dividing expert are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InheritedMoments {
    /// Both experts get half of the moments. Each sees half of the tokens, so the first moment halves and the second
    /// falls to between a quarter and a half: no update is larger than it would have been.
    #[default]
    Halve,
    /// Both experts get the full moments.
    Copy,
    /// Both experts start without moments.
    Reset,
}

impl InheritedMoments {
    /// Factor on both moments of both experts.
    pub fn factor(self) -> f32 {
        match self {
            Self::Halve => 0.5,
            Self::Copy => 1.0,
            Self::Reset => 0.0,
        }
    }
}

impl MitosisConfig {
    /// Duration of sibling inhibition.
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
    /// The first invalid value, by its path within this section.
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

    /// Default inhibition, for a run that continues without mitosis while siblings still inhibit each other.
    pub(super) fn default_inhibition() -> Inhibition {
        Inhibition {
            hold: apart(),
            fade: apart(),
        }
    }
}
