//! The experts of every token of a request that asked for them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Largest number of traces that are kept, and of choices in all of them.
const MOST: usize = 256;
const MOST_CHOICES: usize = 4 << 20;

/// The newest traces, by id.
#[derive(Debug, Default)]
pub(super) struct Traces(Mutex<VecDeque<Kept>>);

#[derive(Debug)]
struct Kept {
    id: String,
    choices: usize,
    trace: Value,
}

impl Traces {
    /// Keeps a trace with this number of choices, and drops the oldest ones beyond the limits.
    pub(super) fn keep(&self, id: &str, choices: usize, trace: Value) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(Kept {
            id: id.to_owned(),
            choices,
            trace,
        });
        let mut sum: usize = all.iter().map(|kept| kept.choices).sum();
        while all.len() > MOST || (sum > MOST_CHOICES && all.len() > 1) {
            sum -= all.pop_front().map_or(0, |kept| kept.choices);
        }
    }

    /// The trace with this id.
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().rev().find(|kept| kept.id == id);
        found.map(|kept| kept.trace.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_traces_are_dropped() {
        let traces = Traces::default();
        for id in 0..=MOST {
            traces.keep(&id.to_string(), 1, id.into());
        }
        assert_eq!(traces.get("0"), None);
        assert_eq!(traces.get("1"), Some(1.into()));
        traces.keep("large", 2 * MOST_CHOICES, "large".into());
        assert_eq!(traces.get("9"), None);
        assert_eq!(traces.get("large"), Some("large".into()));
    }
}
