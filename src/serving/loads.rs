//! What the engine has computed: since it began, and over the newest seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::inference::{RouteCounts, Traffic, TrafficLayer};

/// Time between two totals that are kept, and the longest time that can be asked for.
const WIDTH: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// Time over which the rate of tokens is taken.
const RATE: Duration = Duration::from_secs(5);

/// Totals of an engine.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    newest: Total,
    /// Totals of the last seconds, the oldest first.
    past: VecDeque<Total>,
    /// Numbers of generated tokens.
    generated: VecDeque<(Instant, u64)>,
}

#[derive(Debug, Default)]
struct Total {
    /// Time of the pass; absent before the first one.
    at: Option<Instant>,
    traffic: Traffic,
}

impl Loads {
    /// Takes the totals after a pass.
    pub(super) fn set(&self, now: Instant, traffic: &Traffic, generated: u64) {
        let mut kept = self.lock();
        let Kept {
            newest,
            past,
            generated: rate,
        } = &mut *kept;
        let last = past.back().and_then(|total| total.at);
        if last.is_none_or(|last| now - last >= WIDTH) {
            let most = (LONGEST.as_secs() / WIDTH.as_secs()) as usize;
            // reuses the memory of the oldest one
            let mut total = if past.len() > most {
                past.pop_front().unwrap_or_default()
            } else {
                Total::default()
            };
            total.at = Some(now);
            // without what has been computed since the last pass before it
            total.traffic.clone_from(&newest.traffic);
            past.push_back(total);
        }
        newest.at = Some(now);
        newest.traffic.clone_from(traffic);
        if rate.back().is_none_or(|(at, _)| now - *at >= RATE / 20) {
            rate.push_back((now, generated));
        }
        while rate.front().is_some_and(|(at, _)| now - *at > RATE) {
            rate.pop_front();
        }
    }

    /// The totals since the engine began.
    pub(super) fn total(&self) -> Traffic {
        self.lock().newest.traffic.clone()
    }

    /// Generated tokens per second over the newest seconds; `None` if too little was generated to tell.
    pub(super) fn tokens_per_s(&self, now: Instant) -> Option<f64> {
        let kept = self.lock();
        let young = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) <= RATE;
        let (begin, first) = kept.generated.iter().find(young)?;
        let (end, last) = kept.generated.back()?;
        let seconds = (*end - *begin).as_secs_f64();
        (seconds > 0.0).then(|| last.saturating_sub(*first) as f64 / seconds)
    }

    /// What was computed in the newest `window`, to a second, or since the engine began if that is not so long ago.
    pub(super) fn since(&self, now: Instant, window: Duration) -> Traffic {
        let kept = self.lock();
        let is_old = |total: &Total| {
            total
                .at
                .is_some_and(|at| now.saturating_duration_since(at) >= window)
        };
        let newest = &kept.newest.traffic;
        if is_old(&kept.newest) {
            return difference(newest, newest);
        }
        match kept.past.iter().rev().find(|it| is_old(it)) {
            Some(before) => difference(newest, &before.traffic),
            None => newest.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was computed after `before`.
fn difference(now: &Traffic, before: &Traffic) -> Traffic {
    let less = |now: &[u64], before: Option<&Vec<u64>>| -> Vec<u64> {
        let before = |i: usize| before.and_then(|it| it.get(i)).copied().unwrap_or(0);
        let counts = now.iter().enumerate();
        counts
            .map(|(i, now)| now.saturating_sub(before(i)))
            .collect()
    };
    let layers = now.layers.iter().enumerate().map(|(i, layer)| {
        let before = before.layers.get(i);
        TrafficLayer {
            counts: RouteCounts {
                experts: less(&layer.counts.experts, before.map(|it| &it.counts.experts)),
                null: less(&layer.counts.null, before.map(|it| &it.counts.null)),
            },
            distinct: layer.distinct,
            distinct_total: layer.distinct_total - before.map_or(0, |it| it.distinct_total),
        }
    });
    Traffic {
        passes: now.passes - before.passes,
        tokens: now.tokens - before.tokens,
        layers: layers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(passes: u64) -> Traffic {
        Traffic {
            passes,
            tokens: passes,
            layers: vec![TrafficLayer {
                counts: RouteCounts {
                    experts: vec![passes, 2 * passes],
                    null: vec![3 * passes],
                },
                distinct: 1,
                distinct_total: passes,
            }],
        }
    }

    #[test]
    fn a_window_has_what_came_in_it() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let loads = Loads::default();
        assert_eq!(loads.since(at(0), LONGEST), Traffic::default());
        // a pass every 100 ms for 100 s
        for pass in 1..=1000 {
            loads.set(at(pass * 100), &traffic(pass), 2 * pass);
        }
        assert_eq!(loads.total(), traffic(1000));
        let now = at(100_000);
        for seconds in [1, 10, 60] {
            let found = loads.since(now, Duration::from_secs(seconds));
            let passes = found.passes;
            assert!(
                (seconds * 10..=seconds * 10 + 11).contains(&passes),
                "{seconds}: {passes}"
            );
            assert_eq!(found, traffic(passes), "{seconds}");
        }
        assert!(loads.lock().past.len() <= 62);
        let rate = loads.tokens_per_s(now).unwrap();
        assert!((rate - 20.0).abs() < 1e-6, "{rate}");
        // long after the last pass
        let later = loads.since(at(200_000), Duration::from_secs(10));
        assert_eq!(
            (later.passes, &later.layers[0].counts.experts[..]),
            (0, &[0, 0][..])
        );
        assert_eq!(loads.tokens_per_s(at(200_000)), None);
        // what came before the oldest total that is kept
        let young = Loads::default();
        young.set(at(0), &traffic(5), 5);
        assert_eq!(young.since(at(10), LONGEST), traffic(5));
    }
}
