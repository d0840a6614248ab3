//! Measurement windows of a repeat.

use std::time::Duration;

use super::Case;
use crate::telemetry::energy::{Energy, Idle, Monitor, decode_intervals};

/// Work done in one run of all requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Number of generated tokens.
    pub(super) generated: u64,
}

/// Results of a repeat.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Repeat {
    /// Energy per prompt token, in joules.
    pub(super) prefill_j: PerToken,
    /// Energy per generated token after the first, in joules.
    pub(super) decode_j: PerToken,
    /// Mean power while requests are answered, in watts.
    pub(super) power_w: Option<f64>,
    /// The devices with their sources.
    pub(super) source: String,
}

/// Energy per token in joules; `None` if not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PerToken {
    /// All energy that the devices drew.
    pub(super) gross: Option<f64>,
    /// Energy without that of the idle devices.
    pub(super) net: Option<f64>,
}

/// Energy and work of a window.
struct Window {
    energy: Energy,
    runs: u64,
    intervals: u64,
}

impl Repeat {
    /// Measures a window of prefill, then one of whole requests. `work` runs all requests once with the given number
    /// of new tokens.
    pub(super) fn measure<E>(
        monitor: &Monitor,
        case: Case,
        shortest: Duration,
        idle: Option<&Idle>,
        mut work: impl FnMut(usize) -> Result<Work, E>,
    ) -> Result<Self, E> {
        let prefill = Window::fill(monitor, case, shortest, || work(1))?;
        let whole = Window::fill(monitor, case, shortest, || work(case.new))?;
        let prompts = (case.batch * case.prompt) as f64;
        let intervals = whole.intervals as f64 / whole.runs as f64;
        let per_token = |joules: &dyn Fn(&Energy) -> Option<f64>| {
            let of_run = |window: &Window| Some(joules(&window.energy)? / window.runs as f64);
            let prefill = of_run(&prefill);
            let decode = of_run(&whole)
                .zip(prefill)
                .filter(|_| intervals > 0.0)
                .map(|(whole, prefill)| (whole - prefill) / intervals);
            (prefill.map(|joules| joules / prompts), decode)
        };
        let gross = per_token(&Energy::joules);
        let net = per_token(&|energy| idle.and_then(|idle| idle.net_j(energy)));
        Ok(Self {
            prefill_j: PerToken {
                gross: gross.0,
                net: net.0,
            },
            decode_j: PerToken {
                gross: gross.1,
                net: net.1,
            },
            power_w: whole.energy.power_w(),
            source: whole.energy.source(),
        })
    }
}

impl Window {
    fn fill<E>(
        monitor: &Monitor,
        case: Case,
        shortest: Duration,
        mut run: impl FnMut() -> Result<Work, E>,
    ) -> Result<Self, E> {
        let begin = monitor.sample();
        let (mut runs, mut intervals) = (0, 0);
        loop {
            let work = run()?;
            runs += 1;
            intervals += decode_intervals(case.batch as u64, work.generated);
            let energy = monitor.sample().since(&begin);
            if energy.duration >= shortest {
                return Ok(Self {
                    energy,
                    runs,
                    intervals,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::telemetry::energy::{Clock, EnergyMeter, Meters, Quality, Reading, Source, Total};

    /// A clock and an energy counter that advance with the work.
    #[derive(Debug, Clone, Default)]
    struct World {
        ms: Arc<AtomicU64>,
        energy_uj: Arc<AtomicU64>,
        /// Increases when the counter is reset.
        stretch: Arc<AtomicU64>,
    }

    impl Clock for World {
        fn now(&self) -> Duration {
            Duration::from_millis(self.ms.load(Ordering::Relaxed))
        }
    }

    impl EnergyMeter for World {
        fn sample(&mut self, _: Duration) -> Vec<Reading> {
            vec![Reading {
                device: "GPU".into(),
                source: Source::Nvml,
                quality: Quality::Counter,
                total: Some(Total {
                    energy_uj: self.energy_uj.load(Ordering::Relaxed),
                    stretch: self.stretch.load(Ordering::Relaxed) as u32,
                }),
            }]
        }

        fn poll(&mut self, _: Duration) {}

        fn interval(&self) -> Option<Duration> {
            None
        }
    }

    const CASE: Case = Case {
        prompt: 10,
        new: 5,
        batch: 2,
    };

    /// A repeat at 100 W, where a prefill of 2 x 10 tokens takes 2 s and each pass after it 0.5 s.
    fn repeat(world: &World, idle: Option<&Idle>, on_run: impl Fn(usize)) -> Repeat {
        let meters = Meters::new(vec![Box::new(world.clone())], Box::new(world.clone()));
        let monitor = Monitor::start(meters);
        let work = |new: usize| -> Result<Work, ()> {
            let ms = 2000 + 500 * (new as u64 - 1);
            world.ms.fetch_add(ms, Ordering::Relaxed);
            world
                .energy_uj
                .fetch_add(100 * ms * 1000, Ordering::Relaxed);
            on_run(new);
            Ok(Work {
                generated: (2 * new) as u64,
            })
        };
        Repeat::measure(&monitor, CASE, Duration::from_secs(20), idle, work).unwrap()
    }

    #[test]
    fn prefill_and_decoding_have_their_own_joules_and_denominators() {
        let idle = Idle {
            power_w: 40.0,
            duration_s: 10.0,
            source: "GPU (NVML counter)".into(),
        };
        let world = World::default();
        let found = repeat(&world, Some(&idle), |_| ());
        // prefill: 200 J for 20 tokens; decoding: 50 J per pass of two tokens, in four passes
        assert_eq!(found.prefill_j.gross, Some(10.0));
        assert_eq!(found.decode_j.gross, Some(25.0));
        assert!((found.prefill_j.net.unwrap() - 6.0).abs() < 1e-9);
        assert!((found.decode_j.net.unwrap() - 15.0).abs() < 1e-9);
        assert_eq!(found.power_w, Some(100.0));
        // windows of whole runs of 2 s and 4 s, both of at least 20 s
        assert_eq!(world.ms.load(Ordering::Relaxed), 40_000);
    }

    #[test]
    fn a_window_that_was_not_measured_leaves_its_figures_out() {
        let world = World::default();
        // the counter is reset during whole requests
        let reset = |new| {
            if new > 1 {
                world.stretch.fetch_add(1, Ordering::Relaxed);
            }
        };
        let found = repeat(&world, None, reset);
        assert_eq!(found.prefill_j.gross, Some(10.0));
        let nothing = PerToken {
            gross: None,
            net: None,
        };
        assert_eq!((found.decode_j, found.power_w), (nothing, None));
        assert_eq!(found.prefill_j.net, None);
    }
}
