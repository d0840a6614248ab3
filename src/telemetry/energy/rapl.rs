//! Energy of processors: Intel's and AMD's running average power limit counters
//! (<https://docs.kernel.org/power/powercap/powercap.html>).
//!
//! A package counter includes the cores, the caches and the rest of the chip; memory (`dram`) is counted separately.
//! The zones `core`, which is part of the package, and `psys`, which is the whole board, are not added.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::EnergyMeter;
use super::machine::Unavailable;
use super::reading::{Quality, Reading, Source};
use super::total::{Counter, Range};

/// The counters of all packages and of their memory.
#[derive(Debug)]
pub(super) struct Rapl {
    zones: Vec<Zone>,
}

#[derive(Debug)]
struct Zone {
    device: Arc<str>,
    file: PathBuf,
    counter: Counter,
}

impl Rapl {
    /// The kernel's folder of the counters.
    const FOLDER: &str = "/sys/class/powercap";

    /// Environment variable that names another folder, for containers that do not see the kernel's.
    const VARIABLE: &str = "DARKHORSE_POWERCAP";

    /// Polling interval; a counter wraps around after some minutes at full power.
    const INTERVAL: Duration = Duration::from_secs(10);

    /// Opens the counters of this machine.
    pub(super) fn of_machine() -> Result<Self, Unavailable> {
        let named = std::env::var_os(Self::VARIABLE);
        Self::open(named.as_ref().map_or(Self::FOLDER.as_ref(), Path::new))
    }

    /// Opens all counters, or returns an error if one of them cannot be read.
    fn open(folder: &Path) -> Result<Self, Unavailable> {
        let missing = || Unavailable::NoRapl {
            folder: folder.into(),
        };
        let entries = fs::read_dir(folder).map_err(|_| missing())?;
        let names = entries
            .flatten()
            .filter_map(|it| it.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let mut zones = Vec::new();
        for name in names {
            zones.extend(Zone::open(folder, &name).map_err(|(file, source)| {
                let folder = folder.into();
                Unavailable::Rapl {
                    folder,
                    file,
                    source,
                }
            })?);
        }
        if zones.is_empty() {
            return Err(missing());
        }
        Ok(Self { zones })
    }
}

impl Zone {
    /// Opens a zone, if it is to be counted. `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it.
    fn open(folder: &Path, name: &str) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let Some(numbers) = name.strip_prefix("intel-rapl:") else {
            return Ok(None);
        };
        let text = |name: &str, file: &str| {
            let file = folder.join(name).join(file);
            fs::read_to_string(&file)
                .map(|text| text.trim().to_owned())
                .map_err(|error| (file, error))
        };
        let zone = text(name, "name")?;
        let device = match numbers.split_once(':') {
            None if zone.starts_with("package") => format!("CPU {zone}"),
            Some((package, _)) if zone == "dram" => {
                let package = text(&format!("intel-rapl:{package}"), "name")?;
                format!("memory of {package}")
            }
            _ => return Ok(None),
        };
        let file = folder.join(name).join("energy_uj");
        let range = folder.join(name).join("max_energy_range_uj");
        let range = number(&range).map_err(|error| (range, error))?;
        let mut counter = Counter::new(Range::Wraps(range));
        let begin = number(&file).map_err(|error| (file.clone(), error))?;
        counter.advance(Duration::ZERO, Some(begin));
        Ok(Some(Self {
            device: device.into(),
            file,
            counter,
        }))
    }

    fn read(&mut self, now: Duration) -> Reading {
        let total = self.counter.advance(now, number(&self.file).ok());
        Reading::new(&self.device, Source::Rapl, Quality::Counter, total)
    }
}

impl EnergyMeter for Rapl {
    fn sample(&mut self, now: Duration) -> Vec<Reading> {
        self.zones.iter_mut().map(|zone| zone.read(now)).collect()
    }

    fn poll(&mut self, now: Duration) {
        self.sample(now);
    }

    fn interval(&self) -> Option<Duration> {
        Some(Self::INTERVAL)
    }

    fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        let limit = |zone: &Zone| {
            // the kernel names the first one `long_term`
            let file = zone.file.with_file_name("constraint_0_power_limit_uw");
            let limit_uw = number(&file).ok().filter(|&limit_uw| limit_uw > 0)?;
            Some((zone.device.clone(), limit_uw as f64 * 1e-6))
        };
        self.zones.iter().filter_map(limit).collect()
    }
}

fn number(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::window::{Energy, Sample};
    use super::*;

    fn zone(powercap: &Path, folder: &str, name: &str, energy_uj: u64) {
        let path = powercap.join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("name"), format!("{name}\n")).unwrap();
        fs::write(path.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        fs::write(path.join("max_energy_range_uj"), "10000000\n").unwrap();
    }

    fn sample(meter: &mut Rapl, second: u64) -> Sample {
        let at = Duration::from_secs(second);
        Sample {
            at,
            readings: meter.sample(at),
        }
    }

    fn joules(energy: &Energy) -> Vec<Option<f64>> {
        energy.parts.iter().map(|part| part.joules).collect()
    }

    #[test]
    fn packages_and_memory_are_summed_and_cores_and_the_board_are_not() {
        let powercap = tempfile::tempdir().unwrap();
        let set = |energy_uj: [u64; 5]| {
            zone(powercap.path(), "intel-rapl:0", "package-0", energy_uj[0]);
            zone(powercap.path(), "intel-rapl:1", "package-1", energy_uj[1]);
            zone(powercap.path(), "intel-rapl:0:0", "core", energy_uj[2]);
            zone(powercap.path(), "intel-rapl:0:1", "dram", energy_uj[3]);
            zone(powercap.path(), "intel-rapl:2", "psys", energy_uj[4]);
            // package 0 once more, through another interface
            zone(
                powercap.path(),
                "intel-rapl-mmio:0",
                "package-0",
                energy_uj[0],
            );
        };
        set([1_000_000, 9_000_000, 5, 7, 5]);
        let mut meter = Rapl::open(powercap.path()).unwrap();
        let begin = sample(&mut meter, 1);

        // the second counter wraps around at 10 J
        set([3_500_000, 500_000, 6_000_005, 250_007, 7_000_005]);
        let end = sample(&mut meter, 2);

        let energy = end.since(&begin);
        assert_eq!(joules(&energy), [Some(2.5), Some(0.25), Some(1.5)]);
        assert_eq!(energy.joules(), Some(4.25));
        assert_eq!(
            energy.source(),
            "CPU package-0 (RAPL counter), memory of package-0 (RAPL counter), CPU package-1 (RAPL counter)"
        );
    }

    #[test]
    fn a_counter_that_fails_while_measuring_has_no_joules() {
        let powercap = tempfile::tempdir().unwrap();
        zone(powercap.path(), "intel-rapl:0", "package-0", 1);
        zone(powercap.path(), "intel-rapl:1", "package-1", 1);
        let mut meter = Rapl::open(powercap.path()).unwrap();
        let begin = sample(&mut meter, 1);
        fs::remove_file(powercap.path().join("intel-rapl:1/energy_uj")).unwrap();
        zone(powercap.path(), "intel-rapl:0", "package-0", 1_000_001);
        let failed = sample(&mut meter, 2);
        assert_eq!(joules(&failed.since(&begin)), [Some(1.0), None]);
        assert_eq!(failed.since(&begin).joules(), None);
        // the counter kept counting, so a window that spans the failure has a value
        zone(powercap.path(), "intel-rapl:0", "package-0", 2_000_001);
        zone(powercap.path(), "intel-rapl:1", "package-1", 4_000_001);
        let end = sample(&mut meter, 3);
        assert_eq!(end.since(&begin).joules(), Some(6.0));
        assert_eq!(end.since(&failed).joules(), None);
    }

    #[test]
    fn a_machine_without_counters_says_where_they_would_be() {
        let powercap = tempfile::tempdir().unwrap();
        for folder in [powercap.path(), Path::new("/nonexistent")] {
            let error = Rapl::open(folder).unwrap_err();
            assert!(matches!(&error, Unavailable::NoRapl { folder: f } if f == folder));
        }
    }

    #[test]
    fn a_counter_that_may_not_be_read_is_named_with_a_way_to_allow_it() {
        let powercap = tempfile::tempdir().unwrap();
        zone(powercap.path(), "intel-rapl:0", "package-0", 1);
        let file = powercap.path().join("intel-rapl:0/energy_uj");
        let unreadable = |error: Unavailable| {
            let line = error.to_string();
            let folder = powercap.path().display();
            let begin = format!("cannot read `{folder}/intel-rapl:0/energy_uj`: ");
            assert!(line.starts_with(&begin), "{line}");
            let allow = format!("`sudo chmod a+r {folder}/intel-rapl:*/energy_uj`");
            assert!(line.contains(&allow), "{line}");
        };
        let denied = Unavailable::Rapl {
            folder: powercap.path().into(),
            file: file.clone(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        unreadable(denied);
        // root may read every file, but not a folder
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        unreadable(Rapl::open(powercap.path()).unwrap_err());
    }
}
