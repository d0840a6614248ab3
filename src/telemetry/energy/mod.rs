//! Measured energy, in joules. Energy that cannot be measured is `None`, never 0.
//!
//! A meter accumulates the energy of its devices; the difference of two samples is a measurement. Each figure carries
//! its devices, its source and its quality. `docs/energy.md` has the definitions.

mod idle;
#[cfg(feature = "energy")]
mod integral;
mod ledger;
mod machine;
mod monitor;
#[cfg(feature = "energy")]
mod nvml;
mod rapl;
mod reading;
mod scope;
mod total;
mod window;

use std::sync::Arc;
use std::time::Duration;

pub use idle::{Idle, IdleError};
pub use ledger::{Dealt, Ledger, Phase, Spent, Work};
pub use machine::{Clock, Meters, Unmetered};
pub use monitor::Monitor;
pub use reading::{Quality, Reading, Source};
pub use scope::Scope;
pub use total::Total;
pub use window::{Energy, Part, Sample, decode_intervals};

/// A meter of the energy of one or more devices.
///
/// The caller passes the time: a meter has no clock of its own.
pub trait EnergyMeter: Send + std::fmt::Debug {
    /// Reads every device, always in the same order.
    fn sample(&mut self, now: Duration) -> Vec<Reading>;

    /// Reads the values that cannot wait for the next sample: the power of devices without a counter, and counters
    /// that wrap around.
    fn poll(&mut self, now: Duration);

    /// Longest time between two polls; `None` if the meter needs no polls.
    fn interval(&self) -> Option<Duration>;

    /// Power limits in watts, with the names of their devices, of the devices that have one.
    fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        Vec::new()
    }
}
