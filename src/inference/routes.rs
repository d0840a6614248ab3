//! Record of the experts that the tokens of one sequence visited.
//!
//! A record holds exactly the positions that the sequence read itself: not those of a shared prefix, of rejected
//! drafts, or of dropped tokens.

use burn::tensor::backend::Backend;

use crate::model::routing::Routing;

/// Whether routes are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// Not recorded.
    #[default]
    Off,
    /// Recorded. Costs 8 bytes per choice of a token, and a copy from the device per layer.
    On,
    /// Recorded from the first token on: a beginning that an earlier prompt shares is read again.
    Whole,
}

/// Routes of a sequence's tokens, by MoE layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteLog {
    /// First recorded position.
    first: usize,
    layers: Vec<LayerLog>,
}

/// Routes in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerLog {
    /// Number of routed experts; slots from this index on are null experts.
    pub experts: usize,
    /// Number of routed and null experts.
    pub slots: usize,
    /// Number of slots that each token chooses.
    pub num_experts_per_tok: usize,
    /// Chosen slots, best first, `[tokens, num_experts_per_tok]`.
    pub choices: Vec<u32>,
    /// Gate values of the chosen slots.
    pub gates: Vec<f32>,
}

/// Number of choices of every slot in one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCounts {
    /// Number of choices of each routed expert.
    pub experts: Vec<u64>,
    /// Number of choices of each null expert.
    pub null: Vec<u64>,
}

impl RouteLog {
    /// Creates an empty record for a sequence whose first `first` positions were read elsewhere.
    pub(super) fn new(first: usize) -> Self {
        Self {
            first,
            layers: Vec::new(),
        }
    }

    /// First recorded position; the ones before were read by another request.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Routes of the MoE layers, first layer first.
    pub fn layers(&self) -> &[LayerLog] {
        &self.layers
    }

    /// Number of recorded positions.
    pub fn tokens(&self) -> usize {
        let layer = self.layers.first();
        layer.map_or(0, |layer| layer.choices.len() / layer.num_experts_per_tok)
    }

    /// Number of choices of every slot, by layer; a layer has `tokens * num_experts_per_tok` choices in total.
    pub fn counts(&self) -> Vec<RouteCounts> {
        self.layers.iter().map(LayerLog::counts).collect()
    }

    /// Appends the given rows of a pass.
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

    /// Drops the positions from `len` on.
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
    /// Routes of all rows of a pass.
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

    /// Number of choices of every slot.
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
