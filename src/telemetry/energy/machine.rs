//! The energy meters of this machine, or the reasons why there are none.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::EnergyMeter;
use super::rapl::Rapl;
use super::scope::Scope;
use super::window::Sample;

/// A monotonic clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since a fixed, arbitrary moment.
    fn now(&self) -> Duration;
}

impl Clock for Instant {
    fn now(&self) -> Duration {
        self.elapsed()
    }
}

/// Several meters with a common clock.
#[derive(Debug)]
pub struct Meters {
    meters: Vec<Box<dyn EnergyMeter>>,
    /// Time of the last poll of each meter.
    polled: Vec<Duration>,
    clock: Arc<dyn Clock>,
    facts: Vec<String>,
}

/// Why the energy of a kind of device cannot be measured.
#[derive(Debug, Error)]
pub enum Unavailable {
    /// The processor has no RAPL counters.
    #[error(
        "the processor's counters are missing: no package in `{folder}` (few virtual machines have them; on a \
         machine of one's own `modprobe intel_rapl_msr` may help)"
    )]
    NoRapl {
        /// Folder where they are expected.
        folder: PathBuf,
    },
    /// A RAPL counter cannot be read.
    #[error(
        "cannot read `{file}`: {source}; `sudo chmod a+r {glob}` allows it until the next start",
        glob = folder.join("intel-rapl:*/energy_uj").display()
    )]
    Rapl {
        /// Folder of the counters.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The program was built without NVIDIA's library.
    #[cfg(not(feature = "energy"))]
    #[error("NVIDIA's counters need a program built with `--features energy`")]
    NotBuilt,
    /// NVIDIA's library cannot be used.
    #[cfg(feature = "energy")]
    #[error("NVIDIA's driver library `{library}`: {reason}")]
    Nvml {
        /// Name of the library.
        library: String,
        /// The reason.
        reason: String,
    },
    /// No NVIDIA device is present and chosen.
    #[error("none of NVIDIA's {found} devices is in `CUDA_VISIBLE_DEVICES` and chosen")]
    NoGpu {
        /// Number of devices in the machine.
        found: u32,
    },
    /// An NVIDIA device reports neither energy nor power.
    #[error("{device} tells neither its energy ({energy}) nor its power ({power})")]
    Gpu {
        /// Name of the device.
        device: String,
        /// Error of reading its energy.
        energy: String,
        /// Error of reading its power.
        power: String,
    },
}

/// The error of a machine without any energy meter.
#[derive(Debug, Error)]
pub struct Unmetered {
    /// The reason for each kind of device.
    pub reasons: Vec<Unavailable>,
}

impl fmt::Display for Unmetered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this machine has no energy meter")?;
        for (i, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if i == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Meters {
    /// Opens the meters of all devices in `scope` that can be measured, and returns the reasons for the others.
    ///
    /// # Errors
    ///
    /// No device can be measured.
    pub fn of_machine(scope: &Scope) -> Result<(Self, Unmetered), Unmetered> {
        let mut meters: Vec<Box<dyn EnergyMeter>> = Vec::new();
        let (mut reasons, mut facts) = (Vec::new(), Vec::new());
        match Rapl::of_machine() {
            Ok(rapl) => meters.push(Box::new(rapl)),
            Err(reason) => reasons.push(reason),
        }
        #[cfg(feature = "energy")]
        if *scope != Scope::Processor {
            match super::nvml::Gpus::open(&super::nvml::LIBRARIES, scope) {
                Ok((gpus, failed)) => {
                    facts.extend(gpus.facts());
                    reasons.extend(failed);
                    meters.push(Box::new(gpus));
                }
                Err(failed) => reasons.extend(failed),
            }
        }
        #[cfg(not(feature = "energy"))]
        if *scope != Scope::Processor {
            facts.clear();
            reasons.push(Unavailable::NotBuilt);
        }
        let unmetered = Unmetered { reasons };
        if meters.is_empty() {
            return Err(unmetered);
        }
        let clock = Box::new(Instant::now());
        let meters = Self {
            facts,
            ..Self::new(meters, clock)
        };
        Ok((meters, unmetered))
    }

    /// Combines meters with a clock.
    pub fn new(meters: Vec<Box<dyn EnergyMeter>>, clock: Box<dyn Clock>) -> Self {
        Self {
            polled: vec![clock.now(); meters.len()],
            meters,
            clock: clock.into(),
            facts: Vec::new(),
        }
    }

    /// Descriptions of the devices apart from their energy: driver version, power limits.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// Power limits in watts of the devices that have one.
    pub fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        self.meters
            .iter()
            .flat_map(|meter| meter.limits_w())
            .collect()
    }

    /// The clock of the samples.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Reads every device.
    pub fn sample(&mut self) -> Sample {
        let at = self.clock.now();
        let readings = self.meters.iter_mut().flat_map(|meter| meter.sample(at));
        let readings = readings.collect();
        self.polled.fill(at);
        Sample { at, readings }
    }

    /// Polls the meters whose interval has passed.
    pub fn poll(&mut self) {
        let now = self.clock.now();
        for (meter, polled) in self.meters.iter_mut().zip(&mut self.polled) {
            let interval = meter.interval();
            if interval.is_some_and(|interval| now.saturating_sub(*polled) >= interval) {
                *polled = now;
                meter.poll(now);
            }
        }
    }

    /// Shortest polling interval of the meters; `None` if none needs polls.
    pub fn interval(&self) -> Option<Duration> {
        self.meters
            .iter()
            .filter_map(|meter| meter.interval())
            .min()
    }
}
