//! The meters of this machine, or why it has none.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::EnergyMeter;
use super::rapl::Rapl;
use super::scope::Scope;
use super::window::Sample;

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time since some earlier moment.
    fn now(&self) -> Duration;
}

impl Clock for Instant {
    fn now(&self) -> Duration {
        self.elapsed()
    }
}

/// Several meters as one, with a clock.
#[derive(Debug)]
pub struct Meters {
    meters: Vec<Box<dyn EnergyMeter>>,
    /// When each meter was read last.
    polled: Vec<Duration>,
    clock: Box<dyn Clock>,
    facts: Vec<String>,
}

/// Why a device cannot be measured.
#[derive(Debug, Error)]
pub enum Unavailable {
    /// There are no counters of the processor.
    #[error(
        "the processor's counters are missing: no package in `{folder}` (few virtual machines have them; on a \
         machine of one's own `modprobe intel_rapl_msr` may help)"
    )]
    NoRapl {
        /// Where they would be.
        folder: PathBuf,
    },
    /// A counter of the processor cannot be read.
    #[error(
        "cannot read `{file}`: {source}; `sudo chmod a+r {glob}` allows it until the next start",
        glob = folder.join("intel-rapl:*/energy_uj").display()
    )]
    Rapl {
        /// The counters' folder.
        folder: PathBuf,
        /// The file.
        file: PathBuf,
        /// What the system says.
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
        /// The library.
        library: String,
        /// What it says.
        reason: String,
    },
    /// No device was chosen, or there is none.
    #[error("none of NVIDIA's {found} devices is in `CUDA_VISIBLE_DEVICES` and chosen")]
    NoGpu {
        /// Devices of the machine.
        found: u32,
    },
    /// A device tells neither its energy nor its power.
    #[error("{device} tells neither its energy ({energy}) nor its power ({power})")]
    Gpu {
        /// The device.
        device: String,
        /// Why there is no counter.
        energy: String,
        /// Why there is no power.
        power: String,
    },
}

/// No device of this machine can be measured.
#[derive(Debug, Error)]
pub struct Unmetered {
    /// The reasons, one for each kind of device.
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
    /// All devices of the scope that can be measured. The others are in `Unmetered` beside them.
    ///
    /// # Errors
    ///
    /// If there is none.
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

    /// These meters.
    pub fn new(meters: Vec<Box<dyn EnergyMeter>>, clock: Box<dyn Clock>) -> Self {
        Self {
            polled: vec![clock.now(); meters.len()],
            meters,
            clock,
            facts: Vec::new(),
        }
    }

    /// What is known of the devices beside their energy: driver, power limits.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// Reads every device now.
    pub fn sample(&mut self) -> Sample {
        let at = self.clock.now();
        let readings = self.meters.iter_mut().flat_map(|meter| meter.sample(at));
        let readings = readings.collect();
        self.polled.fill(at);
        Sample { at, readings }
    }

    /// Reads the devices that cannot wait any longer.
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

    /// The longest time between two polls, if there must be any.
    pub fn interval(&self) -> Option<Duration> {
        self.meters
            .iter()
            .filter_map(|meter| meter.interval())
            .min()
    }
}
