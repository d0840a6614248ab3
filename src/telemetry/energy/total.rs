//! Energy as the sum of a counter's steps.

use std::time::Duration;

/// Largest plausible power of a processor package or its memory, in watts. A counter that would have wrapped around
/// with more than this was reset.
const MOST_W: f64 = 2000.0;

/// Energy since a fixed, arbitrary moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// Energy in microjoules.
    pub energy_uj: u64,
    /// Increases by one whenever energy is missing in the sum, for example after a reset. Only totals of the same
    /// stretch can be subtracted.
    pub stretch: u32,
}

impl Total {
    /// Energy since `before`, in microjoules; `None` if some of it is unknown.
    pub fn since(&self, before: &Self) -> Option<u64> {
        let is_whole = self.stretch == before.stretch;
        is_whole.then(|| self.energy_uj.checked_sub(before.energy_uj))?
    }
}

/// Behavior of a counter at its largest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// The counter never reaches it, as on NVIDIA devices: a lower value means that it was reset.
    #[cfg_attr(not(feature = "energy"), allow(dead_code))]
    Endless,
    /// The counter restarts from zero after this many microjoules.
    Wraps(u64),
}

/// Accumulates the steps of a counter.
#[derive(Debug)]
pub(super) struct Counter {
    range: Range,
    last: Option<(Duration, u64)>,
    total: Total,
}

impl Counter {
    pub(super) fn new(range: Range) -> Self {
        Self {
            range,
            last: None,
            total: Total::default(),
        }
    }

    /// Adds a reading in microjoules. A failed reading returns `None`; the next one continues after it.
    pub(super) fn advance(&mut self, now: Duration, read: Option<u64>) -> Option<Total> {
        let read = read?;
        if let Some((then, last)) = self.last.replace((now, read)) {
            match self.step(now.saturating_sub(then), last, read) {
                Some(step) => self.total.energy_uj += step,
                None => self.total.stretch += 1,
            }
        }
        Some(self.total)
    }

    fn step(&self, passed: Duration, last: u64, read: u64) -> Option<u64> {
        if read >= last {
            return Some(read - last);
        }
        let Range::Wraps(range) = self.range else {
            return None;
        };
        let step = range.checked_sub(last)? + read;
        (step as f64 * 1e-6 <= MOST_W * passed.as_secs_f64()).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(now: u64) -> Duration {
        Duration::from_millis(now)
    }

    #[test]
    fn a_counter_that_wraps_is_told_from_one_that_was_reset() {
        let mut counter = Counter::new(Range::Wraps(262_143_328_850));
        let begin = counter.advance(ms(0), Some(262_143_000_000)).unwrap();
        let wrapped = counter.advance(ms(1000), Some(671_150)).unwrap();
        assert_eq!(wrapped.since(&begin), Some(1_000_000));
        // as a wrap-around, 50 J to 1 J would be 262 kJ in a second
        counter.advance(ms(2000), Some(50_000_000));
        let reset = counter.advance(ms(3000), Some(1_000_000)).unwrap();
        assert_eq!(reset.since(&wrapped), None);
        let after = counter.advance(ms(4000), Some(3_000_000)).unwrap();
        assert_eq!(after.since(&reset), Some(2_000_000));
    }

    #[test]
    fn an_endless_counter_that_falls_was_reset() {
        let mut counter = Counter::new(Range::Endless);
        let begin = counter.advance(ms(0), Some(u64::from(u32::MAX))).unwrap();
        let reset = counter.advance(ms(1), Some(5)).unwrap();
        assert_eq!(reset.since(&begin), None);
        // a high value after the reset does not join the stretches
        let high = counter.advance(ms(2), Some(u64::MAX)).unwrap();
        assert_eq!(high.since(&begin), None);
    }

    #[test]
    fn a_reading_that_fails_costs_its_own_window_only() {
        let mut counter = Counter::new(Range::Endless);
        let begin = counter.advance(ms(0), Some(10)).unwrap();
        assert_eq!(counter.advance(ms(1), None), None);
        let end = counter.advance(ms(2), Some(25)).unwrap();
        assert_eq!(end.since(&begin), Some(15));
    }
}
