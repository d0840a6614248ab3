//! Duration and energy of the phases of a conversion.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::telemetry::energy::Monitor;

/// Cost of one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name of the phase.
    pub name: String,
    /// Duration in seconds.
    pub seconds: f64,
    /// Energy in joules; absent if it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// A stopwatch and, where the machine has one, an energy meter.
#[derive(Debug)]
pub struct Phases {
    monitor: Option<Monitor>,
    done: Vec<Phase>,
}

impl Phases {
    /// Begins without a phase; energy is measured by `monitor`, if there is one.
    pub fn new(monitor: Option<Monitor>) -> Self {
        Self {
            monitor,
            done: Vec::new(),
        }
    }

    /// Runs and measures a phase. Phases of one name are summed.
    pub fn run<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let before = self.monitor.as_ref().map(Monitor::sample);
        let begin = Instant::now();
        let result = work();
        let seconds = begin.elapsed().as_secs_f64();
        let after = self.monitor.as_ref().map(Monitor::sample);
        let joules = after.zip(before);
        let joules = joules.and_then(|(after, before)| after.since(&before).joules());
        match self.done.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => {
                phase.seconds += seconds;
                phase.joules = phase.joules.zip(joules).map(|(a, b)| a + b);
            }
            None => self.done.push(Phase {
                name: name.into(),
                seconds,
                joules,
            }),
        }
        result
    }

    /// All phases, in the order of their first runs.
    pub fn done(&self) -> &[Phase] {
        &self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_one_name_are_summed_and_unmeasured_energy_is_absent() {
        let mut phases = Phases::new(None);
        assert_eq!(phases.run("read", || 1), 1);
        let once = phases.done()[0].seconds;
        phases.run("write", || ());
        phases.run("read", || {
            std::thread::sleep(std::time::Duration::from_millis(2))
        });
        let names: Vec<&str> = phases.done().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["read", "write"]);
        assert!(phases.done()[0].seconds >= once + 0.002);
        assert_eq!(phases.done()[0].joules, None);
        let written = serde_json::to_value(&phases.done()[1]).unwrap();
        assert_eq!(written.get("joules"), None);
    }
}
