//! Baseline power: the power of idle devices.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::window::Energy;

/// Mean power of the idle devices, to be subtracted from the power under load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// Power of all devices together, in watts.
    pub power_w: f64,
    /// Duration of the measurement, in seconds.
    pub duration_s: f64,
    /// The devices with their sources, as in [`Energy::source`].
    pub source: String,
}

/// Why idle power cannot be determined.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum IdleError {
    /// The measurement was shorter than [`Idle::SHORTEST`].
    #[error("the idle power was measured for {found:?}, expected at least {expected:?}")]
    Short {
        /// Duration of the measurement.
        found: Duration,
        /// Required duration.
        expected: Duration,
    },
    /// A device could not be read.
    #[error("the idle power could not be measured: {source_text}")]
    Unknown {
        /// The devices with their sources.
        source_text: String,
    },
}

impl Idle {
    /// Shortest duration of a measurement of idle power.
    pub const SHORTEST: Duration = Duration::from_secs(10);

    /// Idle power from a measurement without work.
    ///
    /// # Errors
    ///
    /// The measurement was shorter than [`Self::SHORTEST`], or a device could not be read.
    pub fn of(energy: &Energy) -> Result<Self, IdleError> {
        if energy.duration < Self::SHORTEST {
            return Err(IdleError::Short {
                found: energy.duration,
                expected: Self::SHORTEST,
            });
        }
        let power_w = energy.power_w().ok_or_else(|| IdleError::Unknown {
            source_text: energy.source(),
        })?;
        Ok(Self {
            power_w,
            duration_s: energy.duration.as_secs_f64(),
            source: energy.source(),
        })
    }

    /// Net energy of the work, in joules: `J_gross - P_idle t`, where `t` is the duration of `energy`. `None` if
    /// `energy` is of other devices or was not measured.
    pub fn net_j(&self, energy: &Energy) -> Option<f64> {
        let gross = energy.joules().filter(|_| energy.source() == self.source)?;
        Some(gross - self.power_w * energy.duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::{Quality, Source};
    use super::super::window::Part;
    use super::*;

    fn energy(seconds: u64, joules: Option<f64>) -> Energy {
        Energy {
            duration: Duration::from_secs(seconds),
            parts: vec![Part {
                device: "CPU".into(),
                source: Source::Rapl,
                quality: Quality::Counter,
                joules,
            }],
        }
    }

    #[test]
    fn net_is_gross_without_the_idle_power() {
        let idle = Idle::of(&energy(10, Some(200.0))).unwrap();
        assert_eq!(idle.power_w, 20.0);
        assert_eq!(idle.net_j(&energy(30, Some(1500.0))), Some(900.0));
        assert_eq!(idle.net_j(&energy(30, None)), None);
        let mut of_another = energy(30, Some(1500.0));
        of_another.parts[0].device = "GPU".into();
        assert_eq!(idle.net_j(&of_another), None);
    }

    #[test]
    fn a_short_or_unread_baseline_is_none() {
        let error = Idle::of(&energy(9, Some(1.0))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the idle power was measured for 9s, expected at least 10s"
        );
        assert!(Idle::of(&energy(10, None)).is_err());
    }
}
