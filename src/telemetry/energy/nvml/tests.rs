//! Tests against the fake driver library in `tests/nvml`, which answers from a script.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::super::machine::{Clock, Meters};
use super::super::window::{Energy, Sample};
use super::*;

/// A copy of the fake library with its script and its clock.
struct Fake {
    folder: TempDir,
    script: String,
    clock: Hand,
}

/// A clock that tests set, in milliseconds.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Fake {
    fn new(script: &str) -> Self {
        let built = std::env::current_exe().unwrap();
        let built = built.with_file_name("libdarkhorse_fake_nvml.so");
        let folder = tempfile::tempdir().unwrap();
        fs::copy(built, folder.path().join(LIBRARIES[0])).unwrap();
        let fake = Self {
            folder,
            script: script.into(),
            clock: Hand::default(),
        };
        fake.at(0);
        fake
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join(LIBRARIES[0])
    }

    /// Makes the fake library one of an older driver that lacks a function.
    fn without(self, function: &str) -> Self {
        let mut library = fs::read(self.library()).unwrap();
        let name = [function.as_bytes(), b"\0"].concat();
        let places = (0..library.len()).filter(|&at| library[at..].starts_with(&name));
        let places: Vec<_> = places.collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| library[at] = b'x');
        fs::write(self.library(), library).unwrap();
        self
    }

    fn at(&self, now_ms: u64) {
        self.clock.0.store(now_ms, Ordering::Relaxed);
        let script = format!("clock {now_ms}\n{}", self.script);
        fs::write(self.folder.path().join("nvml.txt"), script).unwrap();
    }

    fn open_in(&self, scope: &Scope) -> Result<(Gpus, Vec<Unavailable>), Vec<Unavailable>> {
        Gpus::open(&[self.library().as_os_str()], scope)
    }

    fn open(&self) -> Meters {
        let (gpus, silent) = self.open_in(&Scope::AllGpus).unwrap();
        assert!(silent.is_empty(), "{silent:?}");
        Meters::new(vec![Box::new(gpus)], Box::new(self.clock.clone()))
    }

    fn calls(&self, function: &str) -> usize {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap();
        calls.lines().filter(|call| *call == function).count()
    }

    /// Energy between two times, with a poll every 100 ms as the background thread does it.
    fn between(&self, meters: &mut Meters, begin_ms: u64, end_ms: u64) -> Energy {
        self.at(begin_ms);
        let begin = meters.sample();
        for now in (begin_ms + 100..end_ms).step_by(100) {
            self.at(now);
            meters.poll();
        }
        self.at(end_ms);
        meters.sample().since(&begin)
    }
}

const ENERGY: &str = "nvmlDeviceGetTotalEnergyConsumption";
const MEAN: &str = "nvmlDeviceGetPowerUsage";
const FIELDS: &str = "nvmlDeviceGetFieldValues";

fn refusal(errors: Vec<Unavailable>) -> String {
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn a_counter_is_read_to_the_millijoule_at_the_steps_that_it_makes() {
    let fake = Fake::new("device H\nstart 777\nstep 100\npower 0 300000\npower 1000 500000");
    let mut meters = fake.open();
    let energy = fake.between(&mut meters, 500, 2050);
    // at 2050 ms the counter still has its value of 2000 ms
    assert_eq!(energy.joules(), Some(0.5 * 300.0 + 500.0));
    assert_eq!(energy.source(), "H #0 (NVML counter)");
    let within_a_step = fake.between(&mut meters, 2110, 2190);
    assert_eq!(within_a_step.joules(), Some(0.0));
    // one read at the start and two per window, none in between
    assert_eq!(fake.calls(ENERGY), 1 + 2 + 2);
    assert_eq!(meters.interval(), None);
}

#[test]
fn a_counter_that_falls_costs_its_window_and_no_other() {
    // a 32-bit counter wraps at 2^32 mJ; as NVML does not document that, it counts as a reset
    for restart in ["reset 2000", "bits 32\nstart 4294467296"] {
        let fake = Fake::new(&format!("device H\npower 0 250000\n{restart}"));
        let mut meters = fake.open();
        assert_eq!(fake.between(&mut meters, 0, 1000).joules(), Some(250.0));
        let energy = fake.between(&mut meters, 1500, 2500);
        assert_eq!(
            (energy.joules(), energy.power_w()),
            (None, None),
            "{restart}"
        );
        assert_eq!(energy.parts[0].quality, Quality::Unavailable);
        assert_eq!(fake.between(&mut meters, 2500, 3500).joules(), Some(250.0));
    }
}

#[test]
fn without_a_counter_the_power_is_integrated_the_one_of_the_moment_if_there_is() {
    let script = "device old\npower 0 100000\n";
    let no_instant = "device old\npower 0 100000\n";
    let instant = "device old\npower 0 100000\ninstant 0 200000\n";
    let unsupported = format!("fail {ENERGY} 3\n");
    let cases = [
        (Fake::new(script).without(ENERGY), 100.0, MEAN),
        (
            Fake::new(&(no_instant.to_owned() + &unsupported)),
            100.0,
            MEAN,
        ),
        (
            Fake::new(&(instant.to_owned() + &unsupported)),
            200.0,
            FIELDS,
        ),
        (Fake::new(instant).without(ENERGY), 200.0, FIELDS),
        (
            Fake::new(instant).without(ENERGY).without(FIELDS),
            100.0,
            MEAN,
        ),
    ];
    for (fake, watts, function) in cases {
        let mut meters = fake.open();
        let before = fake.calls(function);
        let energy = fake.between(&mut meters, 0, 20_000);
        let joules = energy.joules().unwrap();
        assert!((joules / (20.0 * watts) - 1.0).abs() < 0.01, "{joules}");
        assert_eq!(energy.source(), "old #0 (NVML integrated power)");
        // exactly ten readings per second
        assert_eq!(fake.calls(function) - before, 1 + 200);
    }
}

#[test]
fn power_that_changes_is_integrated_within_a_reading_s_width() {
    let fake = Fake::new("device old\npower 0 100000\npower 5050 400000\n").without(ENERGY);
    let energy = fake.between(&mut fake.open(), 0, 10_000);
    let exact = 5.05 * 100.0 + 4.95 * 400.0;
    assert!((energy.joules().unwrap() / exact - 1.0).abs() < 0.01);
}

#[test]
fn a_power_that_cannot_be_read_for_a_moment_has_no_joules_over_it() {
    let mut fake = Fake::new("device old\npower 0 100000\n").without(ENERGY);
    let mut meters = fake.open();
    assert!(fake.between(&mut meters, 0, 1000).joules().is_some());
    fake.at(1000);
    let begin = meters.sample();
    // 15: the device is lost
    fake.script += "fail nvmlDeviceGetPowerUsage 15\n";
    fake.at(1100);
    meters.poll();
    let lost: Sample = meters.sample();
    assert_eq!(lost.since(&begin).parts[0].joules, None);
    fake.script = "device old\npower 0 100000\n".into();
    fake.at(1200);
    assert_eq!(meters.sample().since(&begin).joules(), None);
    assert!(fake.between(&mut meters, 1300, 2000).joules().is_some());
}

#[test]
fn devices_are_summed_and_named_as_far_as_they_are_in_the_scope() {
    let fake = Fake::new(
        "driver 570.86\ndevice A\npower 0 100000\nlimit 350000\ndevice B\npower 0 200000",
    );
    let energy = fake.between(&mut fake.open(), 0, 1000);
    assert_eq!(energy.joules(), Some(300.0));
    assert_eq!(energy.source(), "A #0 (NVML counter), B #1 (NVML counter)");
    let only = |scope| {
        let gpus = fake.open_in(&scope).unwrap().0;
        gpus.gpus
            .iter()
            .map(|gpu| gpu.device.to_string())
            .collect::<Vec<_>>()
    };
    use super::super::scope::Gpu::{Index, Uuid};
    assert_eq!(only(Scope::Gpus(vec![Index(1)])), ["B #1"]);
    assert_eq!(only(Scope::Gpus(vec![Uuid("GPU-0000".into())])), ["A #0"]);
    let gpus = fake.open_in(&Scope::AllGpus).unwrap().0;
    assert_eq!(
        gpus.facts(),
        ["NVIDIA driver 570.86", "A #0: power limit 350 W"]
    );
    let none = fake.open_in(&Scope::Gpus(vec![Index(7)])).unwrap_err();
    assert!(refusal(none).contains("none of NVIDIA's 2 devices"));
}

#[test]
fn a_device_that_tells_nothing_is_named_and_the_others_are_measured() {
    let mute = format!("device B\nfail {ENERGY} 4\nfail {MEAN} 4\n");
    let fake = Fake::new(&format!("device A\npower 0 100000\n{mute}"));
    let (gpus, silent) = fake.open_in(&Scope::AllGpus).unwrap();
    assert_eq!(gpus.gpus.len(), 1);
    let denied = "the current user does not have permission to perform this operation";
    assert_eq!(
        refusal(silent),
        format!("B #1 tells neither its energy ({denied}) nor its power ({denied})")
    );
    let alone = Fake::new(&mute).open_in(&Scope::AllGpus).unwrap_err();
    assert!(refusal(alone).starts_with("B #0 tells neither"));
}

#[test]
fn a_library_that_is_missing_or_refuses_is_one_line() {
    let missing = Gpus::open(&["/nonexistent/libnvidia-ml.so.1"], &Scope::AllGpus).unwrap_err();
    assert_eq!(
        refusal(missing),
        "NVIDIA's driver library `/nonexistent/libnvidia-ml.so.1`: it was not found; it comes with NVIDIA's driver"
    );
    for (code, reason) in [(9, "driver is not loaded"), (4, "does not have permission")] {
        let fake = Fake::new(&format!("fail nvmlInit_v2 {code}"));
        let line = refusal(fake.open_in(&Scope::AllGpus).unwrap_err());
        assert!(line.contains(reason), "{line}");
    }
    // the second library name is tried if the first does not exist
    let fake = Fake::new("device A\npower 0 1");
    let library = fake.library();
    let names = [
        std::ffi::OsStr::new("/nonexistent/x.so"),
        library.as_os_str(),
    ];
    assert!(Gpus::open(&names, &Scope::AllGpus).is_ok());
}

#[test]
fn requests_in_a_batch_and_idleness_have_the_joules_of_the_counter() {
    use super::super::ledger::{Ledger, Phase, Work};

    // the counter moves every 100 ms, steps end every 7 ms or so, and samples are taken every 25 ms
    let fake = Fake::new(
        "device H\nstart 5000\nstep 100\npower 0 90000\npower 2000 600000\npower 7000 90000",
    );
    let mut meters = fake.open();
    let first = meters.sample();
    let mut ledger = Ledger::new(first.clone());
    let mut answers = Vec::new();
    for now in 1..=9000_u64 {
        fake.clock.0.store(now, Ordering::Relaxed);
        if now == 2000 {
            ledger.begin(Duration::from_millis(now));
        }
        // ten requests of 700 ms, of which two run at a time
        if (2000..7000).contains(&now) && now % 7 == 0 {
            let number = (now - 2000) / 500;
            let works = [number, number.saturating_sub(1)].map(|party| Work {
                party,
                phase: if now % 500 < 100 {
                    Phase::Prefill
                } else {
                    Phase::Decode
                },
                tokens: 1 + party % 3,
            });
            ledger.step(Duration::from_millis(now), works);
        }
        if now % 500 == 0 && (3000..=7000).contains(&now) {
            answers.extend(ledger.take((now - 3000) / 500));
        }
        if now == 7000 {
            answers.extend(ledger.take(9));
            ledger.rest();
        }
        if now % 25 == 0 {
            fake.at(now);
            ledger.settle(meters.sample());
        }
    }
    let window = meters.sample().since(&first).joules().unwrap();
    assert_eq!(window, 5.0 * 600.0 + 4.0 * 90.0);
    let dealt = ledger.dealt();
    let parts = dealt.prefill_j + dealt.decode_j + dealt.idle_j;
    assert!((parts / window - 1.0).abs() < 1e-9, "{dealt:?}");
    assert_eq!(answers.len(), 10);
    let requests: f64 = answers.iter().map(|it| it.prefill_j + it.decode_j).sum();
    let sum = requests + dealt.idle_j;
    assert!(
        (sum / window - 1.0).abs() < 0.01,
        "{sum} {window} {dealt:?}"
    );
    assert!(
        (dealt.idle_j / (4.0 * 90.0) - 1.0).abs() < 0.15,
        "{dealt:?}"
    );
}
