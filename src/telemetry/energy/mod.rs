//! Energy that was measured, in joules. What cannot be measured has no figure: `None`, never 0.
//!
//! A meter counts the energy of some devices. A measurement is the difference of two of its samples. Each figure
//! carries the devices that it counts, where it comes from and how good it is. `docs/energy.md` has the definitions.

mod idle;
#[cfg(feature = "energy")]
mod integral;
mod machine;
mod monitor;
#[cfg(feature = "energy")]
mod nvml;
mod rapl;
mod reading;
mod scope;
mod total;
mod window;

use std::time::Duration;

pub use idle::{Idle, IdleError};
pub use machine::{Clock, Meters, Unmetered};
pub use monitor::Monitor;
pub use reading::{Quality, Reading, Source};
pub use scope::Scope;
pub use total::Total;
pub use window::{Energy, Part, Sample, decode_intervals};

/// Something that counts the energy of one or more devices.
///
/// Time is an argument: the meter has no clock of its own.
pub trait EnergyMeter: Send + std::fmt::Debug {
    /// Reads every device, in the same order each time.
    fn sample(&mut self, now: Duration) -> Vec<Reading>;

    /// Reads what cannot wait for the next sample: the power of devices without a counter, and counters that wrap
    /// around.
    fn poll(&mut self, now: Duration);

    /// The longest time between two polls, if the meter needs polls.
    fn interval(&self) -> Option<Duration>;
}
