//! Joules per request: the meters are read beside the engine, and what they tell is dealt out to the requests.
//!
//! The engine's thread notes the tokens of each step, which takes no reading. A thread of its own reads the meters, more
//! often while there are requests, and deals out the energy since its last reading.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::power::Power;
use crate::inference::{self, RequestId, Share};
use crate::telemetry::energy::{Dealt, Ledger, Meters, Monitor, Phase, Spent, Work};

/// Time between two readings while there are requests, and while there are none.
const BUSY: Duration = Duration::from_millis(25);
const IDLE: Duration = Duration::from_millis(500);

/// The meters of a server, with the accounts of its requests.
#[derive(Debug)]
pub(super) struct Meter {
    shared: Arc<Shared>,
    source: String,
    facts: Vec<String>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    monitor: Monitor,
    ledger: Mutex<Ledger<RequestId>>,
    power: Mutex<Power>,
    pace: Mutex<Pace>,
    changed: Condvar,
}

/// How often the meters are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Idle,
    Busy,
    Ended,
}

impl Meter {
    /// Starts reading.
    pub(super) fn start(meters: Meters) -> std::io::Result<Self> {
        let facts = meters.facts().to_vec();
        let limits = meters.limits_w();
        let monitor = Monitor::start(meters);
        let first = monitor.sample();
        let source = first.source();
        let shared = Arc::new(Shared {
            power: Mutex::new(Power::new(first.clone(), limits)),
            ledger: Mutex::new(Ledger::new(first)),
            monitor,
            pace: Mutex::new(Pace::Idle),
            changed: Condvar::new(),
        });
        let own = shared.clone();
        let thread = Builder::new()
            .name("joules".into())
            .spawn(move || own.read());
        Ok(Self {
            shared,
            source,
            facts,
            thread: Some(thread?),
        })
    }

    /// Devices with the sources of their energy.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Driver version and power limits.
    pub(super) fn facts(&self) -> &[String] {
        &self.facts
    }

    /// Power of the devices.
    pub(super) fn power(&self) -> MutexGuard<'_, Power> {
        lock(&self.shared.power)
    }

    /// Energy dealt out so far.
    pub(super) fn dealt(&self) -> Dealt {
        lock(&self.shared.ledger).dealt()
    }

    /// There are requests.
    pub(super) fn begin(&self) {
        lock(&self.shared.ledger).begin(self.shared.monitor.now());
        self.shared.set(Pace::Busy);
    }

    /// A step has computed these tokens.
    pub(super) fn step(&self, shares: &[Share]) {
        let now = self.shared.monitor.now();
        let works = shares.iter().map(|share| Work {
            party: share.request,
            phase: match share.phase {
                inference::Phase::Prefill => Phase::Prefill,
                inference::Phase::Decode => Phase::Decode,
            },
            tokens: share.tokens as u64,
        });
        lock(&self.shared.ledger).step(now, works);
    }

    /// There are no more requests.
    pub(super) fn rest(&self) {
        lock(&self.shared.ledger).rest();
        self.shared.set(Pace::Idle);
    }

    /// Energy of a request that has ended; `None` if it is not known.
    pub(super) fn take(&self, request: RequestId) -> Option<Spent> {
        // the first requests may end before a reading
        if !lock(&self.shared.ledger).knows_power() {
            self.shared.settle();
        }
        lock(&self.shared.ledger).take(request)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.set(Pace::Ended);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn set(&self, pace: Pace) {
        *lock(&self.pace) = pace;
        self.changed.notify_all();
    }

    /// Reads the meters and deals out what they tell.
    fn settle(&self) {
        // no lock is held while a meter is read, which may take long
        let sample = self.monitor.sample();
        lock(&self.power).push(&sample);
        lock(&self.ledger).settle(sample);
    }

    /// Reads the meters until the end.
    fn read(&self) {
        let mut pace = Pace::Idle;
        while pace != Pace::Ended {
            self.settle();
            let wait = if pace == Pace::Busy { BUSY } else { IDLE };
            let held = lock(&self.pace);
            let waited = self
                .changed
                .wait_timeout_while(held, wait, |newest| *newest == pace);
            pace = *waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
