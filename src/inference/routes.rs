//! Where the tokens of one sequence were routed.
//!
//! A record holds exactly the positions that the sequence has read itself: none of a prefix that another request had read
//! before, none of a draft that was rejected, none that was forgotten since.

use burn::tensor::backend::Backend;

use crate::model::routing::Routing;

/// Whether routes are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// They are not.
    #[default]
    Off,
    /// They are, which takes 6 bytes for each choice of a token, and a copy from the device in every layer.
    On,
}

/// The routes of a sequence's tokens, layer by layer of those that route.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteLog {
    /// The first position that is recorded.
    first: usize,
    layers: Vec<LayerLog>,
}

/// The routes in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerLog {
    /// Routed experts; slots from here on are null experts.
    pub experts: usize,
    /// Routed experts and null experts.
    pub slots: usize,
    /// Slots that each token chose.
    pub num_experts_per_tok: usize,
    /// Which, the likeliest first, `[tokens, num_experts_per_tok]`.
    pub choices: Vec<u32>,
    /// Their gates.
    pub gates: Vec<f32>,
}

/// How often the slots of one layer were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCounts {
    /// Visits of each routed expert.
    pub experts: Vec<u64>,
    /// Choices of each null expert.
    pub null: Vec<u64>,
}

impl RouteLog {
    /// Nothing yet, of a sequence of which so many positions were read before.
    pub(super) fn new(first: usize) -> Self {
        Self {
            first,
            layers: Vec::new(),
        }
    }

    /// The first position that is recorded: those before were read by another request.
    pub fn first(&self) -> usize {
        self.first
    }

    /// The layers that route, first layer first.
    pub fn layers(&self) -> &[LayerLog] {
        &self.layers
    }

    /// Number of positions that are recorded.
    pub fn tokens(&self) -> usize {
        let layer = self.layers.first();
        layer.map_or(0, |layer| layer.choices.len() / layer.num_experts_per_tok)
    }

    /// How often each slot was chosen, by layer: in each, `tokens * num_experts_per_tok` choices in all.
    pub fn counts(&self) -> Vec<RouteCounts> {
        self.layers.iter().map(LayerLog::counts).collect()
    }

    /// Adds the next positions: these rows of a pass.
    pub(super) fn extend(&mut self, pass: &[LayerLog], rows: std::ops::Range<usize>) {
        if self.layers.is_empty() {
            self.layers = pass.iter().map(LayerLog::emptied).collect();
        }
        for (layer, pass) in self.layers.iter_mut().zip(pass) {
            let k = pass.num_experts_per_tok;
            let rows = rows.start * k..rows.end * k;
            layer.choices.extend(&pass.choices[rows.clone()]);
            layer.gates.extend(&pass.gates[rows]);
        }
    }

    /// Forgets the positions from `len` of the sequence on.
    pub fn truncate(&mut self, len: usize) {
        let tokens = len.saturating_sub(self.first);
        self.first = self.first.min(len);
        for layer in &mut self.layers {
            layer.choices.truncate(tokens * layer.num_experts_per_tok);
            layer.gates.truncate(tokens * layer.num_experts_per_tok);
        }
    }
}

impl LayerLog {
    /// The routing of all rows of a pass.
    pub(super) fn of<B: Backend>(routing: Routing<B>) -> Self {
        let slots = routing.slots();
        let [_, num_experts_per_tok] = routing.indices.dims();
        let choices = routing.indices.into_data();
        Self {
            experts: routing.experts,
            slots,
            num_experts_per_tok,
            choices: choices.iter::<i64>().map(|slot| slot as u32).collect(),
            gates: routing.weights.into_data().iter::<f32>().collect(),
        }
    }

    fn emptied(&self) -> Self {
        Self {
            choices: Vec::new(),
            gates: Vec::new(),
            ..*self
        }
    }

    /// How often each slot was chosen.
    pub fn counts(&self) -> RouteCounts {
        let mut experts = vec![0; self.slots];
        for &slot in &self.choices {
            experts[slot as usize] += 1;
        }
        let null = experts.split_off(self.experts);
        RouteCounts { experts, null }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass() -> Vec<LayerLog> {
        vec![LayerLog {
            experts: 3,
            slots: 4,
            num_experts_per_tok: 2,
            choices: vec![0, 1, 2, 3, 1, 2],
            gates: vec![0.6, 0.4, 0.7, 0.3, 0.5, 0.5],
        }]
    }

    #[test]
    fn only_the_rows_of_the_sequence_are_added() {
        let mut log = RouteLog::new(0);
        log.extend(&pass(), 2..3);
        log.extend(&pass(), 0..2);
        let layer = &log.layers()[0];
        assert_eq!(layer.choices, [1, 2, 0, 1, 2, 3]);
        assert_eq!(layer.gates, [0.5, 0.5, 0.6, 0.4, 0.7, 0.3]);
        log.truncate(1);
        let layer = &log.layers()[0];
        assert_eq!(
            (&layer.choices[..], &layer.gates[..]),
            (&[1, 2][..], &[0.5, 0.5][..])
        );
    }

    #[test]
    fn what_is_forgotten_is_not_counted() {
        let mut log = RouteLog::new(10);
        log.extend(&pass(), 0..3);
        log.extend(&pass(), 0..1);
        assert_eq!(log.tokens(), 4);
        log.truncate(12);
        assert_eq!((log.first(), log.tokens()), (10, 2));
        let counts = log.counts();
        assert_eq!(
            (&counts[0].experts[..], &counts[0].null[..]),
            (&[1, 1, 1][..], &[1][..])
        );
        log.truncate(4);
        assert_eq!(
            (log.first(), log.tokens()),
            (4, 0),
            "the shared beginning is cut, too"
        );
    }
}
