//! Codons: blocks of consecutive tokens of a document, whose routing influences the experts of later blocks.
//!
//! The prediction `z_j` for codon `j` is the weighted mean affinity of the codons before it, older ones with less
//! weight. A token never sees its own codon, so the model stays causal. Either `cohesion z_e` is added to the score
//! of expert `e` (*soft*), or only the experts with the largest `z_e` are reachable (*hard*), which bounds the
//! number of experts per codon, so that an engine that offloads experts can prefetch them. Gates are computed from
//! the affinities alone, and no gradient goes through `z`. The first codon of a document has no prediction, wherever
//! the document lies in a row. Null experts are always reachable; MTP modules do not use codons.

mod config;
mod layout;
#[cfg(test)]
mod tests;
mod trail;

pub use config::{CodonConfig, CodonMode};
pub(crate) use trail::Trail;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use super::growth::Access;
use layout::{Layout, Run};

/// Below any mean affinity.
const FOLLOWER: f32 = -1.0;

/// Codons of the tokens of a pass, with what earlier passes left of them.
#[derive(Debug, Clone)]
pub struct Codons<B: Backend> {
    length: usize,
    /// Codon of every row, `[rows]`: of the new tokens, and of earlier tokens in their codons.
    of_rows: Tensor<B, 1, Int>,
    /// Codon of every new token, `[tokens]`.
    of_new: Tensor<B, 1, Int>,
    /// 1 if the previous codon belongs to the same document and pass, `[codons, 1]`.
    follows: Tensor<B, 2>,
    /// Factor that turns the weighted sum over earlier codons into a mean; 0 if there are none. `[codons, 1]`.
    shares: Tensor<B, 2>,
    /// 1 for the first codon of a document, `[codons, 1]`.
    firsts: Tensor<B, 2>,
    /// Factors of the scan, `[codons, 1]` each; see [`Layout::factors`].
    factors: Vec<Tensor<B, 2>>,
    runs: Vec<Run>,
    /// State of each run in the current layer, if runs continue sequences.
    known: Vec<Option<trail::Layer<B>>>,
}

impl<B: Backend> Codons<B> {
    /// Codons of whole documents in rows of tokens.
    ///
    /// # Shapes
    ///
    /// - positions: `[batch, seq]`, position of each token within its document
    pub(crate) fn of_documents(config: &CodonConfig, positions: &Tensor<B, 2, Int>) -> Self {
        let [_, seq] = positions.dims();
        let device = positions.device();
        let positions: Vec<i32> = positions.to_data().iter::<i32>().collect();
        Self::new(config, layout::documents(&positions, seq), &device)
    }

    /// Codons of the next positions of sequences, given as history and number of new positions.
    pub(crate) fn of_sequences<'a>(
        config: &CodonConfig,
        sequences: impl Iterator<Item = (&'a Trail<B>, usize)>,
        device: &B::Device,
    ) -> Self {
        let run = |(trail, new): (&Trail<B>, usize)| Run {
            before: trail.codons(),
            known: trail.kept(),
            new,
        };
        Self::new(config, sequences.map(run).collect(), device)
    }

    fn new(config: &CodonConfig, runs: Vec<Run>, device: &B::Device) -> Self {
        let layout = Layout::new(&runs, config.length);
        let column = |values: Vec<f32>| {
            let shape = [values.len(), 1];
            Tensor::<B, 2>::from_data(TensorData::new(values, shape), device)
        };
        let indices = |values: Vec<i32>| {
            let shape = [values.len()];
            Tensor::<B, 1, Int>::from_data(TensorData::new(values, shape), device)
        };
        let share = |&number: &usize| match number {
            0 => 0.0,
            // sum of a geometric series
            _ => (1.0 - config.memory) / (1.0 - config.memory.powf(number as f64)),
        };
        let factors = layout.factors(config.memory);
        let numbers = layout.numbers.iter();
        let first = |&number: &usize| f32::from(number == 0);
        Self {
            length: config.length,
            shares: column(numbers.clone().map(|it| share(it) as f32).collect()),
            firsts: column(numbers.map(first).collect()),
            follows: column(layout.follows.iter().map(|&it| f32::from(it)).collect()),
            factors: factors.into_iter().map(column).collect(),
            of_rows: indices(layout.of_rows),
            of_new: indices(layout.of_new),
            runs,
            known: Vec::new(),
        }
    }

    /// These codons with the history of layer `at`.
    pub(crate) fn in_layer<'a>(
        &self,
        at: usize,
        trails: impl Iterator<Item = &'a Trail<B>>,
    ) -> Self {
        Self {
            known: trails.map(|trail| trail.layer(at).cloned()).collect(),
            ..self.clone()
        }
    }

    /// Scores of all rows: of the known rows, and of the new tokens.
    fn rows(&self, new: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.known.iter().all(Option::is_none) {
            return new;
        }
        let mut at = 0;
        let mut rows = Vec::new();
        for (run, known) in self.runs.iter().zip(&self.known) {
            rows.extend(known.as_ref().map(|known| known.scores.clone()));
            rows.push(new.clone().narrow(0, at, run.new));
            at += run.new;
        }
        Tensor::cat(rows, 0)
    }

    /// Weighted sums over the codons before each run, `[codons, experts]`; `None` without history.
    fn sums(&self, [codons, experts]: [usize; 2], device: &B::Device) -> Option<Tensor<B, 2>> {
        if self.known.iter().all(Option::is_none) {
            return None;
        }
        let mut sums = Vec::new();
        for (run, known) in self.runs.iter().zip(&self.known) {
            let mut count = (run.known + run.new).div_ceil(self.length);
            if let Some(known) = known {
                sums.push(known.sum.clone());
                count -= 1;
            }
            if count > 0 {
                sums.push(Tensor::zeros([count, experts], device));
            }
        }
        let sums = Tensor::cat(sums, 0);
        debug_assert_eq!(sums.dims(), [codons, experts]);
        Some(sums)
    }

    /// The prediction `z` of every codon, `[codons, experts]`.
    ///
    /// # Shapes
    ///
    /// - scores: `[tokens, experts]`, of the new tokens
    fn prediction(&self, scores: Tensor<B, 2>) -> Tensor<B, 2> {
        let device = scores.device();
        let [_, experts] = scores.dims();
        let [codons, _] = self.shares.dims();
        let later = |values: Tensor<B, 2>, by: usize| {
            let none = Tensor::zeros([by, experts], &device);
            match codons - by {
                0 => none,
                kept => Tensor::cat(vec![none, values.narrow(0, 0, kept)], 0),
            }
        };
        let sums = Tensor::<B, 2>::zeros([codons, experts], &device).select_assign(
            0,
            self.of_rows.clone(),
            self.rows(scores),
            IndexingUpdateOp::Add,
        );
        let means = sums.div_scalar(self.length as f64);
        let mut before = later(means, 1) * self.follows.clone();
        if let Some(known) = self.sums([codons, experts], &device) {
            before = before + known;
        }
        for (step, factors) in self.factors.iter().enumerate() {
            before = before.clone() + later(before, 1 << step) * factors.clone();
        }
        before * self.shares.clone()
    }

    /// Expands values per codon to the new tokens.
    fn of_tokens(&self, by_codon: Tensor<B, 2>) -> Tensor<B, 2> {
        by_codon.select(0, self.of_new.clone())
    }
}

/// Scores that codons accumulate: the affinities, `[tokens, experts]`. Siblings under inhibition count as one
/// expert: both get the affinity of the one on whose side the token is.
pub(super) fn scores<B: Backend>(
    affinities: Tensor<B, 2>,
    experts: usize,
    access: Option<&Access<B>>,
) -> Tensor<B, 2> {
    let scores = match access {
        None => affinities,
        Some(access) => {
            let [tokens, slots] = affinities.dims();
            let elders = access.elders.clone();
            let taken = affinities * access.right_side.clone();
            let elder = elders.clone().unsqueeze::<2>().expand([tokens, slots]);
            Tensor::zeros([tokens, slots], &taken.device())
                .scatter(1, elder, taken, IndexingUpdateOp::Add)
                .select(1, elders)
        }
    };
    scores.narrow(1, 0, experts)
}

/// Changes the scores of the choice by the prediction; `closed` is the score of an unreachable slot.
///
/// # Shapes
///
/// - choice: `[tokens, slots]`, scores: `[tokens, experts]`
pub(super) fn apply<B: Ops>(
    mode: &CodonMode,
    codons: &Codons<B>,
    choice: Tensor<B, 2>,
    scores: Tensor<B, 2>,
    access: Option<&Access<B>>,
    closed: f32,
) -> Tensor<B, 2> {
    let [tokens, slots] = choice.dims();
    let [_, experts] = scores.dims();
    let device = choice.device();
    let beside_null = |values: Tensor<B, 2>, of_null: f32| match slots - experts {
        0 => values,
        null => Tensor::cat(
            vec![values, Tensor::full([tokens, null], of_null, &device)],
            1,
        ),
    };
    let predicted = codons.prediction(scores);
    match *mode {
        CodonMode::Soft { cohesion } => {
            let drawn = codons.of_tokens(predicted.mul_scalar(cohesion));
            choice + beside_null(drawn, 0.0)
        }
        CodonMode::Hard { pool } => {
            let elders = access.map(|it| it.elders.clone().narrow(0, 0, experts));
            let pools = pools(predicted, pool, elders);
            let open = codons.of_tokens(pools + codons.firsts.clone());
            choice.mask_fill(beside_null(open, 1.0).equal_elem(0.0), closed)
        }
    }
}

/// 1 for the `pool` experts with the largest prediction, `[codons, experts]`; a younger sibling follows the elder.
fn pools<B: Ops>(
    predicted: Tensor<B, 2>,
    pool: usize,
    elders: Option<Tensor<B, 1, Int>>,
) -> Tensor<B, 2> {
    let device = predicted.device();
    let [codons, experts] = predicted.dims();
    let ranked = match &elders {
        None => predicted,
        Some(elders) => {
            let own = Tensor::<B, 1, Int>::arange(0..experts as i64, &device);
            let follows = elders.clone().not_equal(own).unsqueeze::<2>();
            predicted.mask_fill(follows.expand([codons, experts]), FOLLOWER)
        }
    };
    let open = Tensor::<B, 2>::zeros([codons, experts], &device).scatter(
        1,
        B::top_k(ranked, pool),
        Tensor::ones([codons, pool], &device),
        IndexingUpdateOp::Add,
    );
    match elders {
        None => open,
        Some(elders) => open.select(1, elders),
    }
}
