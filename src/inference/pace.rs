//! Whether drafting pays, by the time that passes take.

/// Passes of one kind whose time counts, the newest.
const TIMES: usize = 9;
/// Plain passes before the first draft.
const PLAIN: usize = 3;
/// Drafted passes of a trial.
const TRIAL: usize = 8;
/// After so many drafted passes a plain one shows whether its time is still the same.
const DRAFTED: usize = 48;
/// Plain passes before drafting is tried again, at first and at most.
const PAUSE: usize = 16;
const LONGEST_PAUSE: usize = 1024;

/// Compares plain passes with drafted ones, again and again.
///
/// What a pass takes is the median of the newest, which a machine that is busy elsewhere does not move; what it
/// gives is a mean in which newer passes count more.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    plain: Times,
    drafted: Times,
    /// Ids that a drafted pass gives.
    ids: f64,
    state: State,
    /// Length of the next pause.
    pause: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Plain passes, so many more.
    Plain(usize),
    /// One plain pass between drafted ones.
    Glance,
    /// Drafted passes, so many since the last plain one.
    Drafted(usize),
    /// Drafted passes, so many more before the first comparison.
    Trial(usize),
}

/// Seconds of the newest passes of a kind.
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
    /// Whether to draft for the next pass.
    pub(super) fn pays(&self) -> bool {
        !matches!(self.state, State::Plain(_) | State::Glance)
    }

    /// Notes a pass, and decides how to go on.
    pub(super) fn record(&mut self, drafted: bool, chosen: usize, seconds: f64) {
        if drafted {
            self.drafted.add(seconds);
            let weight = match self.state {
                // a trial is about what follows it
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

    /// Whether a drafted pass gives its ids sooner than as many plain ones.
    fn faster(&self) -> bool {
        self.ids * self.plain.median() > self.drafted.median()
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    /// Share of the passes that are drafted when they choose `ids` in `seconds`, plain ones one in a second.
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
