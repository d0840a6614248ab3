//! Energy as the integral of power readings.

use std::time::Duration;

use super::total::Total;

/// Longest gap between two readings over which power is interpolated.
const LONGEST_GAP: Duration = Duration::from_secs(2);

/// Integrates power over time by the trapezoid rule.
#[derive(Debug, Default)]
pub(super) struct Integral {
    last: Option<(Duration, f64)>,
    total: Total,
}

impl Integral {
    /// Adds a reading of the power in watts; `None` is a failed reading.
    pub(super) fn advance(&mut self, now: Duration, power_w: Option<f64>) -> Option<Total> {
        let Some(power_w) = power_w else {
            self.last = None;
            return None;
        };
        match self.last.replace((now, power_w)) {
            Some((then, before_w)) if now.saturating_sub(then) <= LONGEST_GAP => {
                let passed_s = now.saturating_sub(then).as_secs_f64();
                let energy_j = (before_w + power_w) / 2.0 * passed_s;
                self.total.energy_uj += (energy_j * 1e6).round() as u64;
            }
            _ => self.total.stretch += 1,
        }
        Some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(now: u64) -> Duration {
        Duration::from_millis(now)
    }

    #[test]
    fn constant_power_integrates_to_power_times_time() {
        let mut integral = Integral::default();
        let begin = integral.advance(ms(0), Some(123.4)).unwrap();
        // uneven intervals of 60 to 139 ms
        let times = (1..=300).map(|i| i * 100 + (i * 37) % 40);
        let totals = times.map(|now| (now, integral.advance(ms(now), Some(123.4)).unwrap()));
        let (now, end) = totals.last().unwrap();
        let exact = 123.4 * now as f64 * 1e-3;
        let energy = end.since(&begin).unwrap() as f64 * 1e-6;
        assert!((energy / exact - 1.0).abs() < 1e-5, "{energy} {exact}");
    }

    #[test]
    fn a_ramp_is_integrated_exactly() {
        let mut integral = Integral::default();
        let begin = integral.advance(ms(0), Some(0.0)).unwrap();
        integral.advance(ms(500), Some(50.0));
        let end = integral.advance(ms(1000), Some(100.0)).unwrap();
        assert_eq!(end.since(&begin), Some(50_000_000));
    }

    #[test]
    fn power_that_was_not_read_for_long_or_not_at_all_is_unknown() {
        for missing in [true, false] {
            let mut integral = Integral::default();
            let begin = integral.advance(ms(0), Some(100.0)).unwrap();
            let late = if missing {
                assert_eq!(integral.advance(ms(100), None), None);
                200
            } else {
                2001
            };
            let end = integral.advance(ms(late), Some(100.0)).unwrap();
            assert_eq!(end.since(&begin), None);
        }
    }
}
