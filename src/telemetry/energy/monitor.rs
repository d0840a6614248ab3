//! Meters that are polled in the background.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::machine::{Clock, Meters};
use super::window::Sample;

/// Meters with a thread that polls them at their interval; there is no thread if none needs polls.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    meters: Mutex<Meters>,
    ended: Mutex<bool>,
    ending: Condvar,
}

impl Monitor {
    /// Starts polling.
    pub fn start(meters: Meters) -> Self {
        let interval = meters.interval();
        let clock = meters.clock();
        let shared = Arc::new(Shared {
            meters: Mutex::new(meters),
            ended: Mutex::new(false),
            ending: Condvar::new(),
        });
        let thread = interval.and_then(|interval| {
            let shared = shared.clone();
            let polling = move || {
                let mut ended = lock(&shared.ended);
                while !*ended {
                    drop(ended);
                    lock(&shared.meters).poll();
                    let waiting =
                        shared
                            .ending
                            .wait_timeout_while(lock(&shared.ended), interval, |ended| !*ended);
                    ended = waiting.unwrap_or_else(PoisonError::into_inner).0;
                }
            };
            // without the thread, power readings are too far apart and energy is unknown
            Builder::new().name("energy".into()).spawn(polling).ok()
        });
        Self {
            shared,
            clock,
            thread,
        }
    }

    /// Reads every device.
    pub fn sample(&self) -> Sample {
        lock(&self.shared.meters).sample()
    }

    /// Time by the clock of the samples. Does not wait for a meter that is being read.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Power limits in watts of the devices that have one.
    pub fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        lock(&self.shared.meters).limits_w()
    }

    /// Descriptions of the devices apart from their energy.
    pub fn facts(&self) -> Vec<String> {
        lock(&self.shared.meters).facts().to_vec()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        *lock(&self.shared.ended) = true;
        self.shared.ending.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
