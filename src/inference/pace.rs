//! Decides from measured times whether drafting is faster than plain decoding.

/// Number of newest passes of a kind whose times are kept.
const TIMES: usize = 9;
/// Number of plain passes before the first draft.
const PLAIN: usize = 3;
/// Number of drafted passes in a trial.
const TRIAL: usize = 8;
/// Number of drafted passes after which one plain pass is timed again.
const DRAFTED: usize = 48;
/// Number of plain passes before drafting is tried again, initially and at most.
const PAUSE: usize = 16;
const LONGEST_PAUSE: usize = 1024;

/// Alternates between plain and drafted passes and compares their speed.
///
/// The time of a pass is the median of recent pass times, which is robust to load spikes. The number of ids that it
/// yields is a running mean that favours newer passes.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    plain: Times,
    drafted: Times,
    /// Running mean of the ids that a drafted pass yields.
    ids: f64,
    state: State,
    /// Number of passes in the next pause.
    pause: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Plain passes, with the number remaining.
    Plain(usize),
    /// A single plain pass between drafted ones.
    Glance,
    /// Drafted passes, with the number since the last plain one.
    Drafted(usize),
    /// Drafted passes of a trial, with the number remaining before the comparison.
    Trial(usize),
}

/// Times of the newest passes of a kind, in seconds.
#[derive(Debug, Clone, Default)]
struct Times {
    newest: [f64; TIMES],
    count: usize,
}

impl Times {
    fn add(&mut self, seconds: f64) {
        self.newest[self.count % TIMES] = seconds;
        self.count += 1;
    }

    fn median(&self) -> f64 {
        let mut sorted = self.newest;
        let sorted = &mut sorted[..self.count.min(TIMES)];
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            plain: Times::default(),
            drafted: Times::default(),
            ids: 1.0,
            state: State::Plain(PLAIN),
            pause: PAUSE,
        }
    }
}

impl Pace {
    /// Whether to draft in the next pass.
    pub(super) fn pays(&self) -> bool {
        !matches!(self.state, State::Plain(_) | State::Glance)
    }

    /// Records a pass and chooses the kind of the next one.
    pub(super) fn record(&mut self, drafted: bool, chosen: usize, seconds: f64) {
        if drafted {
            self.drafted.add(seconds);
            let weight = match self.state {
                // a trial weights its own passes equally
                State::Trial(left) => 1.0 / (TRIAL + 1 - left) as f64,
                _ => 1.0 / (2 * TRIAL) as f64,
            };
            self.ids += weight * (chosen as f64 - self.ids);
        } else {
            self.plain.add(seconds)
        }
        self.state = match self.state {
            State::Plain(left) if left > 1 => State::Plain(left - 1),
            State::Plain(_) => State::Trial(TRIAL),
            State::Glance => State::Drafted(0),
            State::Trial(left) if left > 1 => State::Trial(left - 1),
            State::Trial(_) | State::Drafted(_) if !self.faster() => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                State::Plain(pause)
            }
            State::Drafted(since) if since < DRAFTED => State::Drafted(since + 1),
            State::Trial(_) | State::Drafted(_) => {
                self.pause = PAUSE;
                State::Glance
            }
        };
    }

    /// Whether drafted passes yield more ids per second than plain ones.
    fn faster(&self) -> bool {
        self.ids * self.plain.median() > self.drafted.median()
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    /// Share of drafted passes if each yields `ids` ids in `seconds` and a plain one yields one id in one second.
    fn drafted(ids: usize, seconds: f64) -> f64 {
        let mut pace = Pace::default();
        let mut drafted = 0;
        for _ in 0..2000 {
            if pace.pays() {
                drafted += 1;
                pace.record(true, ids, seconds);
            } else {
                pace.record(false, 1, 1.0)
            }
        }
        drafted as f64 / 2000.0
    }

    #[test]
    fn drafting_goes_on_where_it_is_faster_and_hardly_where_it_is_not() {
        assert!(drafted(3, 1.5) > 0.97);
        assert!(drafted(1, 1.5) < 0.05);
        assert!(drafted(2, 2.1) < 0.05);
    }

    #[test]
    fn drafting_is_tried_again_when_the_text_changes() {
        let mut pace = Pace::default();
        let mut run = |ids, passes| {
            let mut drafted = 0;
            for _ in 0..passes {
                if pace.pays() {
                    drafted += 1;
                    pace.record(true, ids, 1.4);
                } else {
                    pace.record(false, 1, 1.0)
                }
            }
            drafted
        };
        run(1, 300);
        assert!(run(3, 600) > 200);
    }
}
