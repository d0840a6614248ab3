//! Energy between two samples.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::reading::{Quality, Reading, Source};

/// Longest time without any change of a counter; after that the device counts as not measured. Counters change at
/// least every 100 ms.
const LONGEST_STILL: Duration = Duration::from_secs(1);

/// Readings of all devices at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Time of the sample, by the meters' clock.
    pub at: Duration,
    /// Accumulated energy of each device.
    pub readings: Vec<Reading>,
}

/// Energy of the devices over a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Energy {
    /// Length of the period.
    pub duration: Duration,
    /// Energy of each device.
    pub parts: Vec<Part>,
}

/// Energy of one device over a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Name of the device.
    pub device: String,
    /// Source of the figure.
    pub source: Source,
    /// Method of the figure.
    pub quality: Quality,
    /// Energy in joules; `None` if it was not measured.
    pub joules: Option<f64>,
}

impl Sample {
    /// The devices with their sources, as in `CPU package-0 (RAPL counter)`.
    pub fn source(&self) -> String {
        let readings = self.readings.iter();
        named(readings.map(|it| (&*it.device, it.source, it.quality)))
    }

    /// The energy between `before` and this sample.
    pub fn since(&self, before: &Self) -> Energy {
        let duration = self.at.saturating_sub(before.at);
        let find = |device: &str| before.readings.iter().find(|it| &*it.device == device);
        let part = |now: &Reading| {
            let begin = find(&now.device).and_then(|before| before.total);
            let energy_uj = now
                .total
                .zip(begin)
                .and_then(|(now, begin)| now.since(&begin));
            // counters of some virtual machines never change
            let moves = |&energy_uj: &u64| energy_uj > 0 || duration < LONGEST_STILL;
            let joules = energy_uj.filter(|it| !duration.is_zero() && moves(it));
            Part {
                device: now.device.to_string(),
                source: now.source,
                quality: joules.map_or(Quality::Unavailable, |_| now.quality),
                joules: joules.map(|energy_uj| energy_uj as f64 * 1e-6),
            }
        };
        Energy {
            duration,
            parts: self.readings.iter().map(part).collect(),
        }
    }
}

impl Energy {
    /// Energy of all devices together, in joules; `None` if any is unknown.
    pub fn joules(&self) -> Option<f64> {
        let sum = self
            .parts
            .iter()
            .map(|part| part.joules)
            .sum::<Option<f64>>();
        sum.filter(|_| !self.parts.is_empty())
    }

    /// Mean power in watts.
    pub fn power_w(&self) -> Option<f64> {
        let duration_s = self.duration.as_secs_f64();
        self.joules()
            .filter(|_| duration_s > 0.0)
            .map(|joules| joules / duration_s)
    }

    /// Energy per token in joules, for `tokens` tokens; `None` for 0 tokens.
    pub fn per_token_j(&self, tokens: u64) -> Option<f64> {
        let joules = self.joules().filter(|_| tokens > 0);
        joules.map(|joules| joules / tokens as f64)
    }

    /// The devices with their sources, as in `CPU package-0 (RAPL counter)`.
    pub fn source(&self) -> String {
        let parts = self.parts.iter();
        named(parts.map(|part| (&*part.device, part.source, part.quality)))
    }
}

fn named<'a>(devices: impl Iterator<Item = (&'a str, Source, Quality)>) -> String {
    let mut text = String::new();
    for (device, source, quality) in devices {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{device} ({source} {quality})");
    }
    text
}

/// Number of decoded tokens for an energy per token: all but the first of each sequence, which belongs to the
/// prefill. A sequence of N tokens has N - 1 intervals between them.
pub fn decode_intervals(sequences: u64, tokens: u64) -> u64 {
    tokens.saturating_sub(sequences)
}

#[cfg(test)]
mod tests {
    use super::super::total::Total;
    use super::*;

    fn sample(at_ms: u64, energies_uj: &[Option<u64>]) -> Sample {
        let reading = |(i, energy_uj): (usize, &Option<u64>)| {
            let total = energy_uj.map(|energy_uj| Total {
                energy_uj,
                stretch: 0,
            });
            let device = format!("device {i}").as_str().into();
            Reading::new(&device, Source::Rapl, Quality::Counter, total)
        };
        Sample {
            at: Duration::from_millis(at_ms),
            readings: energies_uj.iter().enumerate().map(reading).collect(),
        }
    }

    #[test]
    fn the_devices_of_a_sum_are_named() {
        let begin = sample(0, &[Some(1_000_000), Some(7_000_000)]);
        let end = sample(500, &[Some(2_500_000), Some(8_000_000)]);
        let energy = end.since(&begin);
        assert_eq!(energy.source(), end.source());
        assert_eq!(energy.joules(), Some(2.5));
        assert_eq!(energy.power_w(), Some(5.0));
        assert_eq!(
            energy.source(),
            "device 0 (RAPL counter), device 1 (RAPL counter)"
        );
    }

    #[test]
    fn joules_per_token_times_tokens_are_the_joules() {
        let energy = sample(500, &[Some(2_500_000)]).since(&sample(0, &[Some(0)]));
        for tokens in [1, 3, 7, 4096] {
            let per_token = energy.per_token_j(tokens).unwrap();
            assert!((per_token * tokens as f64 - 2.5).abs() < 1e-12);
        }
        assert_eq!(energy.per_token_j(0), None);
    }

    #[test]
    fn a_window_of_no_width_has_no_energy() {
        let begin = sample(100, &[Some(5)]);
        let energy = sample(100, &[Some(5)]).since(&begin);
        assert_eq!((energy.joules(), energy.power_w()), (None, None));
        assert_eq!(energy.per_token_j(10), None);
        assert_eq!(energy.parts[0].quality, Quality::Unavailable);
    }

    #[test]
    fn a_counter_that_stands_still_is_not_measured() {
        let still = |ms| {
            sample(ms, &[Some(5)])
                .since(&sample(0, &[Some(5)]))
                .joules()
        };
        assert_eq!((still(100), still(1000)), (Some(0.0), None));
    }

    #[test]
    fn a_sum_with_an_unknown_part_is_unknown() {
        let begin = sample(0, &[Some(0), Some(0)]);
        let energy = sample(500, &[Some(1_000_000), None]).since(&begin);
        assert_eq!(energy.parts[0].joules, Some(1.0));
        assert_eq!(energy.joules(), None);
        assert!(energy.source().ends_with("device 1 (RAPL unavailable)"));
        assert_eq!(sample(500, &[]).since(&sample(0, &[])).joules(), None);
        // a device that the first sample lacks
        let energy = sample(500, &[Some(1), Some(1)]).since(&sample(0, &[Some(0)]));
        assert_eq!(energy.joules(), None);
    }

    #[test]
    fn the_first_token_of_a_sequence_belongs_to_the_prefill() {
        assert_eq!(decode_intervals(1, 64), 63);
        assert_eq!(decode_intervals(8, 8 * 64), 8 * 63);
        assert_eq!(decode_intervals(1, 1), 0);
        assert_eq!(decode_intervals(1, 0), 0);
    }
}
