//! Energy that was measured, in joules. What cannot be measured has no figure.

use std::fs;
use std::path::{Path, PathBuf};

/// Something that counts energy.
pub trait EnergyMeter: Send + std::fmt::Debug {
    /// What it measures, for the report: `CPU packages (RAPL)`.
    fn name(&self) -> &str;

    /// Joules since the last call, or since the meter was made; none if a reading failed. To be called at
    /// least every few minutes: a counter that wraps around twice looks like one that did once.
    fn lap_j(&mut self) -> Option<f64>;
}

/// The meter of this machine, if it has one that this user may read.
pub fn energy_meter() -> Option<Box<dyn EnergyMeter>> {
    Rapl::open().map(|meter| Box::new(meter) as Box<dyn EnergyMeter>)
}

/// Energy of the CPU packages, with their caches: Intel's and AMD's running average power limit counters
/// (<https://docs.kernel.org/power/powercap/powercap.html>). Memory and accelerators are not in it.
#[derive(Debug)]
pub struct Rapl {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// The counter starts again from zero after this many microjoules.
    range_uj: u64,
    /// The last reading, unless it failed: then the next lap has no beginning.
    last_uj: Option<u64>,
}

impl Rapl {
    /// Opens the counters of all packages; none without them, or without the right to read each of them.
    pub fn open() -> Option<Self> {
        Self::open_in(Path::new("/sys/class/powercap"))
    }

    fn open_in(powercap: &Path) -> Option<Self> {
        let mut packages = Vec::new();
        for entry in fs::read_dir(powercap).ok()?.flatten() {
            let name = entry.file_name();
            // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it
            let number = name.to_str()?.strip_prefix("intel-rapl:");
            if !number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                continue;
            }
            // `psys` is the whole board, packages included
            let folder = entry.path();
            let zone = fs::read_to_string(folder.join("name")).ok()?;
            if !zone.starts_with("package") {
                continue;
            }
            let counter = folder.join("energy_uj");
            packages.push(Package {
                last_uj: Some(read(&counter)?),
                range_uj: read(&folder.join("max_energy_range_uj"))?,
                counter,
            });
        }
        (!packages.is_empty()).then_some(Self { packages })
    }
}

impl EnergyMeter for Rapl {
    fn name(&self) -> &str {
        "CPU packages (RAPL)"
    }

    fn lap_j(&mut self) -> Option<f64> {
        // every counter is read, so that all of them begin the next lap now
        let laps: Vec<_> = self.packages.iter_mut().map(Package::lap_uj).collect();
        let sum_uj = laps.into_iter().sum::<Option<u64>>()?;
        Some(sum_uj as f64 * 1e-6)
    }
}

impl Package {
    fn lap_uj(&mut self) -> Option<u64> {
        let now = read(&self.counter);
        let last = std::mem::replace(&mut self.last_uj, now)?;
        let now = now?;
        match now.checked_sub(last) {
            Some(lap) => Some(lap),
            None => Some(self.range_uj.checked_sub(last)? + now),
        }
    }
}

fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(powercap: &Path, folder: &str, name: &str, energy_uj: u64) {
        let path = powercap.join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("name"), format!("{name}\n")).unwrap();
        fs::write(path.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        fs::write(path.join("max_energy_range_uj"), "10000000\n").unwrap();
    }

    #[test]
    fn packages_are_summed_and_their_parts_and_the_board_are_not() {
        let powercap = tempfile::tempdir().unwrap();
        let set = |energy_uj: [u64; 4]| {
            zone(powercap.path(), "intel-rapl:0", "package-0", energy_uj[0]);
            zone(powercap.path(), "intel-rapl:1", "package-1", energy_uj[1]);
            zone(powercap.path(), "intel-rapl:0:0", "core", energy_uj[2]);
            zone(powercap.path(), "intel-rapl:2", "psys", energy_uj[3]);
        };
        set([1_000_000, 9_000_000, 5, 5]);
        let mut meter = Rapl::open_in(powercap.path()).unwrap();

        // the second counter wraps around at 10 J
        set([3_500_000, 500_000, 6_000_005, 7_000_005]);

        assert_eq!(meter.lap_j(), Some(2.5 + 1.5));
        assert_eq!(meter.lap_j(), Some(0.0));
    }

    #[test]
    fn without_a_readable_counter_there_is_no_figure() {
        let powercap = tempfile::tempdir().unwrap();
        assert!(Rapl::open_in(powercap.path()).is_none());
        assert!(Rapl::open_in(Path::new("/nonexistent")).is_none());

        zone(powercap.path(), "intel-rapl:0", "package-0", 1);
        zone(powercap.path(), "intel-rapl:1", "package-1", 1);
        let mut meter = Rapl::open_in(powercap.path()).unwrap();
        fs::remove_file(powercap.path().join("intel-rapl:1/energy_uj")).unwrap();
        assert_eq!(meter.lap_j(), None);
        assert!(Rapl::open_in(powercap.path()).is_none());

        // the lap after a failed reading has no beginning, the one after that has
        zone(powercap.path(), "intel-rapl:1", "package-1", 3_000_000);
        assert_eq!(meter.lap_j(), None);
        zone(powercap.path(), "intel-rapl:1", "package-1", 4_000_000);
        assert_eq!(meter.lap_j(), Some(1.0));
    }
}
