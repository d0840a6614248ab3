//! Energy of work that runs in steps shared by several parties, such as the requests of a batch.
//!
//! The energy of a window between two samples is dealt out evenly over its time: to the steps in it, and to idleness
//! for the rest. The energy of a step is dealt out by the tokens that it computed for each party. So the parties and
//! idleness together have the energy of the window. A counter moves less often than steps end, so a window lasts until
//! the counter has moved.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Add;
use std::time::Duration;

use serde::Serialize;

use super::window::Sample;

/// Largest number of steps that wait for a sample; beyond that the energy of the oldest is given up.
const MOST_STEPS: usize = 1 << 16;
/// Least share of a window's time in steps for which its power counts as that of work.
const BUSY: f64 = 0.9;

/// Phase of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading a prompt.
    Prefill,
    /// Generating tokens.
    Decode,
}

/// Work of a party in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work<K> {
    /// The party.
    pub party: K,
    /// Its phase.
    pub phase: Phase,
    /// Number of tokens computed.
    pub tokens: u64,
}

/// Energy of a party, in joules.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Energy of its prefill.
    pub prefill_j: f64,
    /// Energy of its decoding.
    pub decode_j: f64,
    /// The part of both after the newest sample, by the power of the newest samples.
    pub extrapolated_j: f64,
}

/// Energy dealt out since the ledger began.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Dealt {
    /// Length of the measured windows, in seconds.
    pub measured_s: f64,
    /// Length of the windows without a measurement, in seconds.
    pub unmeasured_s: f64,
    /// Energy of the measured windows, in joules.
    pub joules: f64,
    /// Part of prefill.
    pub prefill_j: f64,
    /// Part of decoding.
    pub decode_j: f64,
    /// Part of the time without work.
    pub idle_j: f64,
    /// Part of steps that have not ended.
    pub open_j: f64,
}

/// Deals out energy to parties.
#[derive(Debug)]
pub struct Ledger<K> {
    /// Sample at the end of the newest window.
    last: Sample,
    /// Begin of the step that runs, and its energy up to the newest sample.
    open: Option<(Duration, Energy)>,
    /// Steps that end after the newest sample.
    steps: VecDeque<Step<K>>,
    accounts: HashMap<K, [Energy; 2]>,
    dealt: Dealt,
    /// Power of the newest window with work, and the share of work in it.
    power: Option<(f64, f64)>,
}

/// Measured energy; `joules` is a part of it if another part is unknown.
#[derive(Debug, Clone, Copy, Default)]
struct Energy {
    joules: f64,
    is_partial: bool,
}

#[derive(Debug)]
struct Step<K> {
    begin: Duration,
    end: Duration,
    /// Energy up to the newest sample.
    energy: Energy,
    works: Vec<Work<K>>,
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prefill_j: self.prefill_j + other.prefill_j,
            decode_j: self.decode_j + other.decode_j,
            extrapolated_j: self.extrapolated_j + other.extrapolated_j,
        }
    }
}

impl Phase {
    fn index(self) -> usize {
        match self {
            Self::Prefill => 0,
            Self::Decode => 1,
        }
    }
}

impl Energy {
    /// Adds energy; `None` is unknown.
    fn add(&mut self, joules: Option<f64>) {
        match joules {
            Some(joules) => self.joules += joules,
            None => self.is_partial = true,
        }
    }

    fn add_share(&mut self, of: Self, share: f64) {
        self.joules += of.joules * share;
        self.is_partial |= of.is_partial;
    }
}

impl<K> Step<K> {
    fn tokens(&self) -> f64 {
        self.works.iter().map(|work| work.tokens).sum::<u64>() as f64
    }
}

impl<K: Copy + Eq + Hash> Ledger<K> {
    /// Begins with a first sample.
    pub fn new(first: Sample) -> Self {
        Self {
            last: first,
            open: None,
            steps: VecDeque::new(),
            accounts: HashMap::new(),
            dealt: Dealt::default(),
            power: None,
        }
    }

    /// Work begins after idleness.
    pub fn begin(&mut self, now: Duration) {
        self.open.get_or_insert((now, Energy::default()));
    }

    /// A step has ended; the next one begins.
    pub fn step(&mut self, now: Duration, works: impl IntoIterator<Item = Work<K>>) {
        let mut own = Vec::new();
        for work in works {
            if work.tokens > 0 {
                self.accounts.entry(work.party).or_default();
                own.push(work);
            }
        }
        if own.is_empty() {
            return;
        }
        let (begin, energy) = self.open.unwrap_or((now, Energy::default()));
        self.steps.push_back(Step {
            begin,
            end: now,
            energy,
            works: own,
        });
        self.open = Some((now, Energy::default()));
        if now <= self.last.at {
            self.settle_ended();
        }
        if self.steps.len() > MOST_STEPS
            && let Some(mut oldest) = self.steps.pop_front()
        {
            oldest.energy.is_partial = true;
            self.deal(&oldest);
        }
    }

    /// Idleness begins.
    pub fn rest(&mut self) {
        // what came after the last step is no step
        if let Some((_, energy)) = self.open.take() {
            self.dealt.idle_j += energy.joules;
        }
    }

    /// Deals out the energy up to a new sample. Returns false if no counter has moved; the sample is dropped then.
    pub fn settle(&mut self, sample: Sample) -> bool {
        if sample.at <= self.last.at {
            return false;
        }
        let joules = sample.since(&self.last).joules();
        if joules == Some(0.0) {
            return false;
        }
        let (from, to) = (self.last.at, sample.at);
        let width_s = (to - from).as_secs_f64();
        let rate_w = joules.map(|joules| joules / width_s);
        let overlap_s = |begin: Duration, end: Duration| {
            end.min(to).saturating_sub(begin.max(from)).as_secs_f64()
        };
        let mut busy_s = 0.0;
        let mut give = |energy: &mut Energy, seconds: f64| {
            if seconds > 0.0 {
                busy_s += seconds;
                energy.add(rate_w.map(|rate_w| rate_w * seconds));
            }
        };
        for step in &mut self.steps {
            give(&mut step.energy, overlap_s(step.begin, step.end));
        }
        if let Some((begin, energy)) = &mut self.open {
            give(energy, overlap_s(*begin, to));
        }
        match (joules, rate_w) {
            (Some(joules), Some(rate_w)) => {
                self.dealt.measured_s += width_s;
                self.dealt.joules += joules;
                self.dealt.idle_j += joules - rate_w * busy_s;
                let share = busy_s / width_s;
                let known = self.power.map_or(0.0, |(_, share)| share);
                if share >= BUSY || share > known {
                    self.power = Some((rate_w, share));
                }
            }
            _ => self.dealt.unmeasured_s += width_s,
        }
        self.last = sample;
        self.settle_ended();
        true
    }

    /// Takes the account of a party, which does no more work. `None` if some of its energy is unknown, or if it did no
    /// work.
    pub fn take(&mut self, party: K) -> Option<Spent> {
        let mut account = self.accounts.remove(&party)?;
        let mut extrapolated_j = Some(0.0);
        for step in &self.steps {
            let tokens = step.tokens();
            let rest = step.end.saturating_sub(step.begin.max(self.last.at));
            let rest_j = self.power.map(|(power_w, _)| power_w * rest.as_secs_f64());
            for work in &step.works {
                if work.party == party {
                    let share = work.tokens as f64 / tokens;
                    let rest_j = rest_j.map(|rest_j| rest_j * share);
                    let account = &mut account[work.phase.index()];
                    account.add_share(step.energy, share);
                    account.add(rest_j);
                    extrapolated_j = extrapolated_j.zip(rest_j).map(|(sum, it)| sum + it);
                }
            }
        }
        let [prefill, decode] = account;
        let is_known = !prefill.is_partial && !decode.is_partial;
        let extrapolated_j = extrapolated_j.filter(|_| is_known)?;
        Some(Spent {
            prefill_j: prefill.joules,
            decode_j: decode.joules,
            extrapolated_j,
        })
    }

    /// Whether `take` knows the power after the newest sample.
    pub fn knows_power(&self) -> bool {
        self.power.is_some()
    }

    /// The energy dealt out so far.
    pub fn dealt(&self) -> Dealt {
        let steps = self.steps.iter().map(|step| step.energy.joules);
        let open = self.open.map_or(0.0, |(_, energy)| energy.joules);
        Dealt {
            open_j: steps.sum::<f64>() + open,
            ..self.dealt
        }
    }

    /// Deals out the energy of steps that end before the newest sample.
    fn settle_ended(&mut self) {
        while self.steps.front().is_some_and(|it| it.end <= self.last.at)
            && let Some(step) = self.steps.pop_front()
        {
            self.deal(&step);
        }
    }

    fn deal(&mut self, step: &Step<K>) {
        let tokens = step.tokens();
        for work in &step.works {
            let share = work.tokens as f64 / tokens;
            let dealt = match work.phase {
                Phase::Prefill => &mut self.dealt.prefill_j,
                Phase::Decode => &mut self.dealt.decode_j,
            };
            *dealt += step.energy.joules * share;
            // a party that is gone has no account
            if let Some(account) = self.accounts.get_mut(&work.party) {
                account[work.phase.index()].add_share(step.energy, share);
            }
        }
    }
}

#[cfg(test)]
mod tests;
