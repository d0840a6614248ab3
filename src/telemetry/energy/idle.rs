//! What the devices draw while there is nothing to do.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::window::Energy;

/// The power of idle devices, to be taken off what work draws.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// Watts of all devices together.
    pub power_w: f64,
    /// How long it was measured, in seconds.
    pub duration_s: f64,
    /// The devices, with their sources.
    pub source: String,
}

/// Why there is no baseline.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum IdleError {
    /// It was too short.
    #[error("the idle power was measured for {found:?}, expected at least {expected:?}")]
    Short {
        /// How long it was.
        found: Duration,
        /// How long it has to be.
        expected: Duration,
    },
    /// The meters failed.
    #[error("the idle power could not be measured: {source_text}")]
    Unknown {
        /// The devices, with what is known of them.
        source_text: String,
    },
}

impl Idle {
    /// The shortest time over which idle power is measured.
    pub const SHORTEST: Duration = Duration::from_secs(10);

    /// The baseline from a stretch without work.
    ///
    /// # Errors
    ///
    /// If it was shorter than [`Self::SHORTEST`], or a device could not be read.
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

    /// Joules that the work cost beyond what the idle devices would have drawn: `J_gross - P_idle t`. None if these
    /// were other devices, or not measured.
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
