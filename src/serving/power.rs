//! Power over the newest minutes, by device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::telemetry::energy::Sample;

/// Time between two points, and their number.
const WIDTH: Duration = Duration::from_millis(500);
const MOST: usize = 240;

/// Power of the devices over time.
#[derive(Debug)]
pub(super) struct Power {
    /// Sample at the end of the newest point.
    last: Sample,
    limits: Vec<(Arc<str>, f64)>,
    points: VecDeque<Point>,
}

/// Mean power over a short time.
#[derive(Debug)]
struct Point {
    at: Duration,
    total_w: Option<f64>,
    devices_w: Vec<Option<f64>>,
}

impl Power {
    pub(super) fn new(first: Sample, limits: Vec<(Arc<str>, f64)>) -> Self {
        Self {
            last: first,
            limits,
            points: VecDeque::new(),
        }
    }

    /// Adds a sample. A point is made of those within its width.
    pub(super) fn push(&mut self, sample: &Sample) {
        if sample.at.saturating_sub(self.last.at) < WIDTH {
            return;
        }
        let energy = sample.since(&self.last);
        // a counter that has not moved yet is no power of 0; after a second it counts as not read
        if energy.parts.iter().any(|part| part.joules == Some(0.0)) {
            return;
        }
        let duration_s = energy.duration.as_secs_f64();
        let watts = |joules: Option<f64>| joules.map(|joules| joules / duration_s);
        self.points.push_back(Point {
            at: sample.at,
            total_w: energy.power_w(),
            devices_w: energy.parts.iter().map(|part| watts(part.joules)).collect(),
        });
        if self.points.len() > MOST {
            self.points.pop_front();
        }
        self.last.clone_from(sample);
    }

    /// Power of all devices together in the newest point, in watts; `None` if any is unknown.
    pub(super) fn now_w(&self) -> Option<f64> {
        self.points.back().and_then(|point| point.total_w)
    }

    /// Power limit of all devices together, in watts; `None` if one has none.
    pub(super) fn limit_w(&self) -> Option<f64> {
        let readings = self.last.readings.iter();
        readings.map(|it| self.limit_of(&it.device)).sum()
    }

    fn limit_of(&self, device: &str) -> Option<f64> {
        let found = self.limits.iter().find(|(name, _)| **name == *device);
        found.map(|(_, limit_w)| *limit_w)
    }

    /// The devices with their newest power.
    pub(super) fn devices(&self) -> Value {
        let newest = self.points.back();
        let devices = self.last.readings.iter().enumerate().map(|(i, reading)| {
            json!({
                "device": &*reading.device,
                "source": reading.source,
                "quality": reading.quality,
                "power_w": newest.and_then(|point| point.devices_w.get(i).copied().flatten()),
                "limit_w": self.limit_of(&reading.device),
            })
        });
        devices.collect()
    }

    /// The points: seconds before the newest one, power of all devices, and power of each.
    pub(super) fn history(&self) -> Value {
        let newest = self.points.back().map_or(Duration::ZERO, |point| point.at);
        let points = self.points.iter().map(|point| {
            let age = newest.saturating_sub(point.at).as_secs_f64();
            json!({"age_s": age, "power_w": point.total_w, "devices_w": point.devices_w})
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::energy::{Quality, Reading, Source, Total};

    fn sample(at_ms: u64, energies_uj: [Option<u64>; 2]) -> Sample {
        let reading = |(name, energy_uj): (&str, Option<u64>)| Reading {
            device: name.into(),
            source: Source::Nvml,
            quality: Quality::Counter,
            total: energy_uj.map(|energy_uj| Total {
                energy_uj,
                stretch: 0,
            }),
        };
        let readings = ["a", "b"].into_iter().zip(energies_uj);
        Sample {
            at: Duration::from_millis(at_ms),
            readings: readings.map(reading).collect(),
        }
    }

    #[test]
    fn a_point_is_the_mean_over_its_width_and_an_unread_device_is_no_zero() {
        let limits = vec![("b".into(), 300.0)];
        let mut power = Power::new(sample(0, [Some(0), Some(0)]), limits);
        assert_eq!(power.now_w(), None);
        power.push(&sample(400, [Some(9_000_000), Some(9_000_000)]));
        power.push(&sample(500, [Some(10_000_000), Some(40_000_000)]));
        assert_eq!(power.now_w(), Some(100.0));
        power.push(&sample(1200, [Some(15_000_000), Some(40_000_000)]));
        assert_eq!(power.now_w(), Some(100.0), "a counter has not moved");
        power.push(&sample(1500, [Some(20_000_000), None]));
        assert_eq!(power.now_w(), None);
        let expected = json!([
            {"age_s": 1.0, "power_w": 100.0, "devices_w": [20.0, 80.0]},
            {"age_s": 0.0, "power_w": null, "devices_w": [10.0, null]},
        ]);
        assert_eq!(power.history(), expected);
        assert_eq!(power.limit_w(), None, "a device has none");
        let devices = power.devices();
        assert_eq!(devices[0]["limit_w"], Value::Null);
        assert_eq!(devices[1]["limit_w"], 300.0);
        assert_eq!(devices[1]["power_w"], Value::Null);
        for at in 0..MOST as u64 {
            power.push(&sample(2000 + at * 500, [Some(at + 1), Some(at + 1)]));
        }
        assert_eq!(power.history().as_array().map(Vec::len), Some(MOST));
    }
}
