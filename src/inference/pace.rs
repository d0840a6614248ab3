//! Whether drafting pays, by the time that passes take.

/// Passes of one kind in a row.
const PLAIN: usize = 3;
const DRAFTED: usize = 12;
/// Plain passes before drafting is tried again, at first and at most.
const PAUSE: usize = 64;
const LONGEST_PAUSE: usize = 1024;

/// Compares plain passes with drafted ones, again and again.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    plain: Rate,
    drafted: Rate,
    /// Passes left of what goes on now.
    left: usize,
    drafting: bool,
    pause: usize,
}

/// Ids per second, newer passes counting more.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    ids: f64,
    seconds: f64,
}

impl Rate {
    fn add(&mut self, ids: usize, seconds: f64) {
        const KEPT: f64 = 0.9;
        self.ids = self.ids * KEPT + ids as f64;
        self.seconds = self.seconds * KEPT + seconds;
    }

    fn per_second(self) -> f64 {
        self.ids / self.seconds.max(1e-9)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            plain: Rate::default(),
            drafted: Rate::default(),
            left: PLAIN,
            drafting: false,
            pause: PAUSE,
        }
    }
}

impl Pace {
    /// Whether to draft for the next pass.
    pub(super) fn pays(&self) -> bool {
        self.drafting
    }

    /// Notes a pass, and decides how to go on.
    pub(super) fn record(&mut self, drafts: usize, chosen: usize, seconds: f64) {
        match drafts {
            0 => self.plain.add(chosen, seconds),
            _ => self.drafted.add(chosen, seconds),
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        let faster = self.drafted.per_second() > self.plain.per_second();
        (self.drafting, self.left) = match (self.drafting, faster) {
            (false, _) => (true, DRAFTED),
            (true, true) => {
                self.pause = PAUSE;
                (true, DRAFTED)
            }
            (true, false) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(LONGEST_PAUSE);
                (false, pause)
            }
        };
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
            match pace.pays() {
                true => {
                    drafted += 1;
                    pace.record(3, ids, seconds);
                }
                false => pace.record(0, 1, 1.0),
            }
        }
        drafted as f64 / 2000.0
    }

    #[test]
    fn drafting_goes_on_where_it_is_faster_and_hardly_where_it_is_not() {
        assert!(drafted(3, 1.5) > 0.99);
        assert!(drafted(1, 1.5) < 0.05);
        assert!(drafted(2, 2.1) < 0.05);
    }

    #[test]
    fn drafting_is_tried_again_when_the_text_changes() {
        let mut pace = Pace::default();
        let mut run = |ids, passes| {
            let mut drafted = 0;
            for _ in 0..passes {
                let drafts = 2 * usize::from(pace.pays());
                drafted += usize::from(drafts > 0);
                pace.record(
                    drafts,
                    if drafts > 0 { ids } else { 1 },
                    1.0 + 0.2 * drafts as f64,
                );
            }
            drafted
        };
        run(1, 300);
        assert!(run(3, 600) > 200);
    }
}
