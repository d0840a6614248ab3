//! Settings and statistics of speculative decoding.

/// Settings of speculative decoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Maximum number of tokens to draft per pass.
    pub depth: usize,
    /// When to draft.
    pub when: When,
    /// Drafting stops when the draft's joint probability falls below this. Every drafted token adds a row to the
    /// pass, which may read other experts.
    pub min_probability: f32,
    /// A further token is drafted only if the draft's joint probability is at least this, since drafting runs a
    /// module.
    pub min_to_extend: f32,
}

/// When to draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before every pass.
    Always,
    /// Only while measured times show that it is faster.
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
    /// Drafts of `depth` tokens before every pass, whatever their probability.
    pub fn always(depth: usize) -> Self {
        Self {
            depth,
            when: When::Always,
            min_probability: 0.0,
            min_to_extend: 0.0,
        }
    }
}

/// Statistics of drafts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Number of passes with a draft at each place after the next token.
    pub drafted: Vec<usize>,
    /// Number of these drafts that were accepted.
    pub accepted: Vec<usize>,
    /// Number of passes without drafts.
    pub plain: usize,
}

impl Acceptance {
    /// Share of the drafts that were accepted; `None` without drafts.
    pub fn share(&self) -> Option<f64> {
        let drafted = self.drafted.iter().sum::<usize>();
        (drafted > 0).then(|| self.accepted.iter().sum::<usize>() as f64 / drafted as f64)
    }

    /// Records a pass: its number of drafts and of chosen ids.
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
