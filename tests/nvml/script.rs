//! The script of the fake library.
//!
//! Each line has a keyword and its values; `#` starts a comment:
//!
//! ```text
//! driver 570.86.10
//! clock 1500             # now, in milliseconds; `clock real` runs
//! fail nvmlInit_v2 9     # the function returns this code; below a device, of this device
//! device Some GPU
//! power 0 300000         # from this millisecond on: milliwatts, also of the energy counter
//! instant 0 310000       # the power of this moment; without it only the mean power is told
//! start 5000             # the energy counter at millisecond 0, in millijoules
//! step 100               # it changes only every 100 ms
//! bits 32                # it wraps around at 2^32
//! reset 2000             # it begins at 0 again at this millisecond
//! limit 700000           # power limit, in milliwatts
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) driver: String,
    /// Milliseconds.
    pub(crate) now: u64,
    pub(crate) failures: HashMap<String, u32>,
    pub(crate) devices: Vec<Device>,
}

#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) failures: HashMap<String, u32>,
    pub(crate) power: Timeline,
    pub(crate) instant: Timeline,
    pub(crate) limit_mw: Option<u32>,
    start_mj: u64,
    step_ms: u64,
    bits: u32,
    reset_ms: Option<u64>,
}

/// Power in milliwatts from a millisecond on, in order.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Vec<(u64, u64)>);

impl Script {
    /// Parses the script in a file; `born` is the time at which the library was loaded.
    pub(crate) fn read(file: &Path, born: Instant) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let mut script = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let (word, values) = line.split_once(' ').unwrap_or((line, ""));
            script.take(word, values, born);
        }
        script
    }

    fn take(&mut self, word: &str, values: &str, born: Instant) {
        let number = |text: &str| -> u64 { text.parse().unwrap_or_else(|_| panic!("{text}")) };
        let pair = || values.split_once(' ').unwrap_or_else(|| panic!("{values}"));
        let pair_of_numbers = || (number(pair().0), number(pair().1));
        let device = self.devices.last_mut();
        match (word, device) {
            ("", _) => {}
            ("driver", _) => self.driver = values.into(),
            ("clock", _) if values == "real" => self.now = born.elapsed().as_millis() as u64,
            ("clock", _) => self.now = number(values),
            ("device", _) => self.devices.push(Device {
                name: values.into(),
                step_ms: 1,
                bits: 64,
                ..Default::default()
            }),
            ("fail", device) => {
                let (function, code) = pair();
                let failures = device.map_or(&mut self.failures, |device| &mut device.failures);
                failures.insert(function.into(), number(code) as u32);
            }
            ("power", Some(device)) => device.power.0.push(pair_of_numbers()),
            ("instant", Some(device)) => device.instant.0.push(pair_of_numbers()),
            ("start", Some(device)) => device.start_mj = number(values),
            ("step", Some(device)) => device.step_ms = number(values),
            ("bits", Some(device)) => device.bits = number(values) as u32,
            ("reset", Some(device)) => device.reset_ms = Some(number(values)),
            ("limit", Some(device)) => device.limit_mw = Some(number(values) as u32),
            _ => panic!("`{word} {values}` is no line of a script, or stands before a device"),
        }
    }
}

impl Device {
    /// Value of the energy counter, in millijoules.
    pub(crate) fn energy_mj(&self, now: u64) -> u64 {
        let now = now - now % self.step_ms;
        let (from, start) = match self.reset_ms {
            Some(reset) if reset <= now => (reset, 0),
            _ => (0, self.start_mj),
        };
        let energy = u128::from(start) + self.power.energy_mj(from, now);
        (energy % (1 << self.bits)) as u64
    }
}

impl Timeline {
    /// Power in milliwatts at a millisecond, if the timeline has begun.
    pub(crate) fn at(&self, now: u64) -> Option<u64> {
        let begun = self.0.iter().take_while(|(from, _)| *from <= now);
        begun.last().map(|(_, power)| *power)
    }

    fn energy_mj(&self, from: u64, to: u64) -> u128 {
        let ends = self.0.iter().skip(1).map(|(next, _)| *next).chain([to]);
        let stretches = self.0.iter().zip(ends).map(|((begin, power), end)| {
            let length = end.min(to).saturating_sub((*begin).max(from));
            u128::from(length) * u128::from(*power)
        });
        stretches.sum::<u128>() / 1000
    }
}
