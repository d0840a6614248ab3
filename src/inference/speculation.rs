//! How tokens are drafted, and what became of the drafts.

/// How a sequence is drafted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Tokens to draft at a time, at most.
    pub depth: usize,
    /// When to draft.
    pub when: When,
    /// A draft goes as far as it is at least this likely to be right to its end, by the modules' own
    /// probabilities: every token more is a row of the pass, for which other experts may be read.
    pub min_probability: f32,
    /// Another token is only drafted after one that is at least this likely to be right: that takes a module.
    pub min_to_extend: f32,
}

/// When to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before every pass.
    Always,
    /// As long as time measured says that it pays.
    ItPays,
}

impl Default for Speculation {
    fn default() -> Self {
        Self {
            depth: 1,
            when: When::ItPays,
            min_probability: 0.05,
            min_to_extend: 0.3,
        }
    }
}

impl Speculation {
    /// Drafts of `depth` tokens before every pass, however unlikely they are.
    pub fn always(depth: usize) -> Self {
        Self {
            depth,
            when: When::Always,
            min_probability: 0.0,
            min_to_extend: 0.0,
        }
    }
}

/// What became of the drafts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// How many passes had a draft for each place after the next token.
    pub drafted: Vec<usize>,
    /// How many of them were accepted.
    pub accepted: Vec<usize>,
    /// Passes without drafts.
    pub plain: usize,
}

impl Acceptance {
    /// Share of the drafts that were accepted; none without drafts.
    pub fn share(&self) -> Option<f64> {
        let drafted = self.drafted.iter().sum::<usize>();
        (drafted > 0).then(|| self.accepted.iter().sum::<usize>() as f64 / drafted as f64)
    }

    /// Notes a pass: how many drafts it had, and how many ids were chosen.
    pub(super) fn record(&mut self, drafts: usize, chosen: usize) {
        if drafts == 0 {
            self.plain += 1;
            return;
        }
        let places = self.drafted.len().max(drafts);
        self.drafted.resize(places, 0);
        self.accepted.resize(places, 0);
        for place in 0..drafts {
            self.drafted[place] += 1;
            self.accepted[place] += usize::from(place + 1 < chosen);
        }
    }
}
