//! Codon history of a sequence that is being decoded.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::CodonConfig;
use crate::model::cache::{REVERSIBLE, bytes};

/// Codon history of one sequence for every layer: a weighted sum over past codons, and the scores of the last
/// tokens, at least those that can be taken back.
#[derive(Debug, Clone)]
pub(crate) struct Trail<B: Backend> {
    length: usize,
    memory: f64,
    /// First position whose scores are kept; always the start of a codon.
    start: usize,
    len: usize,
    layers: Vec<Option<Layer<B>>>,
}

/// Codon history of one layer.
#[derive(Debug, Clone)]
pub(super) struct Layer<B: Backend> {
    /// Weighted sum of the mean scores of the codons before `start`, `[1, experts]`.
    pub(super) sum: Tensor<B, 2>,
    /// Scores of the positions from `start` on, `[len - start, experts]`.
    pub(super) scores: Tensor<B, 2>,
}

impl<B: Backend> Trail<B> {
    pub(crate) fn new(config: &CodonConfig, layers: usize) -> Self {
        Self {
            length: config.length,
            memory: config.memory,
            start: 0,
            len: 0,
            layers: vec![None; layers],
        }
    }

    /// Number of whole codons before `start`.
    pub(super) fn codons(&self) -> usize {
        self.start / self.length
    }

    /// Number of positions whose scores are kept.
    pub(super) fn kept(&self) -> usize {
        self.len - self.start
    }

    pub(super) fn layer(&self, at: usize) -> Option<&Layer<B>> {
        self.layers[at].as_ref()
    }

    /// Appends the scores of the next positions in a layer, `[new, experts]`.
    pub(crate) fn push(&mut self, at: usize, scores: Tensor<B, 2>) {
        let [_, experts] = scores.dims();
        let layer = &mut self.layers[at];
        *layer = Some(match layer.take() {
            None => Layer {
                sum: Tensor::zeros([1, experts], &scores.device()),
                scores,
            },
            Some(Layer { sum, scores: known }) => Layer {
                sum,
                scores: Tensor::cat(vec![known, scores], 0),
            },
        });
    }

    /// Counts `new` positions, after every layer has appended their scores.
    pub(crate) fn advance(&mut self, new: usize) {
        self.len += new;
        // one extra position is kept, so that no layer is empty
        let start = self.len.saturating_sub(REVERSIBLE + 1) / self.length * self.length;
        while self.start < start {
            self.layers.iter_mut().flatten().for_each(|layer| {
                let [kept, _] = layer.scores.dims();
                let codon = layer.scores.clone().narrow(0, 0, self.length);
                let mean = codon.sum_dim(0).div_scalar(self.length as f64);
                layer.sum = layer.sum.clone().mul_scalar(self.memory) + mean;
                layer.scores = layer
                    .scores
                    .clone()
                    .narrow(0, self.length, kept - self.length);
            });
            self.start += self.length;
        }
    }

    /// Shortest length, besides 0, that [`truncate`](Self::truncate) can return to.
    pub(crate) fn earliest(&self) -> usize {
        match self.start {
            0 => 0,
            start => start + 1,
        }
    }

    /// Drops the positions from `len` on.
    ///
    /// # Panics
    ///
    /// If `len` is neither 0 nor at least [`earliest`](Self::earliest).
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if len == 0 {
            (self.start, self.len) = (0, 0);
            self.layers.fill_with(|| None);
            return;
        }
        assert!(
            len >= self.earliest(),
            "codons can go back to {} positions, not to {len}",
            self.earliest()
        );
        self.len = len;
        let kept = self.kept();
        self.layers.iter_mut().flatten().for_each(|layer| {
            layer.scores = layer.scores.clone().narrow(0, 0, kept);
        });
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let of = |layer: &Layer<B>| bytes(&layer.sum) + bytes(&layer.scores);
        self.layers.iter().flatten().map(of).sum()
    }
}
