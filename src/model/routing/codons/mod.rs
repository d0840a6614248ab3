//! Codons: blocks of consecutive tokens of a document, of which the earlier ones bear on the experts that later ones choose.
//!
//! `z_j`, the mean affinities of the codons before codon `j`, those further back for less, is a prediction of what `j`
//! needs: no token looks at its own codon, so nothing leaks from behind it. Either it is added to the scores (*soft*,
//! `H_e -= cohesion z_e`), or only the experts of which it is largest stay open (*hard*), so that a codon visits no more
//! than so many experts and an engine that keeps experts elsewhere can fetch them ahead. Gates come from the affinities
//! alone, and no gradient goes through `z`. A document begins without codons before it, wherever it lies in a row. Null
//! experts belong to no pool and are always open; modules of multi-token prediction have no codons.

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

/// Lower than any mean of affinities.
const FOLLOWER: f32 = -1.0;

/// The codons that the tokens of a pass belong to, and what was before them.
#[derive(Debug, Clone)]
pub struct Codons<B: Backend> {
    length: usize,
    /// Codon of every row, `[rows]`: of the new tokens, and of those before them in their codons.
    of_rows: Tensor<B, 1, Int>,
    /// Codon of every new token, `[tokens]`.
    of_new: Tensor<B, 1, Int>,
    /// 1 where the codon before is of the same document, `[codons, 1]`.
    follows: Tensor<B, 2>,
    /// What a sum over earlier codons is to be multiplied by to become a mean; 0 without any. `[codons, 1]`.
    shares: Tensor<B, 2>,
    /// 1 for the first codon of a document, `[codons, 1]`.
    firsts: Tensor<B, 2>,
    /// Factors of the scan, `[codons, 1]` each; see [`Layout::factors`].
    factors: Vec<Tensor<B, 2>>,
    runs: Vec<Run>,
    /// What a layer remembers of each run, where runs go on with sequences.
    known: Vec<Option<trail::Layer<B>>>,
}

impl<B: Backend> Codons<B> {
    /// Of whole documents in rows of tokens.
    ///
    /// # Shapes
    ///
    /// - positions: `[batch, seq]`, of each token in its document
    pub(crate) fn of_documents(config: &CodonConfig, positions: &Tensor<B, 2, Int>) -> Self {
        let [_, seq] = positions.dims();
        let device = positions.device();
        let positions: Vec<i32> = positions.to_data().iter::<i32>().collect();
        Self::new(config, layout::documents(&positions, seq), &device)
    }

    /// Of the next positions of sequences, each given with its number of new ones.
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
            // of a geometric series
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

    /// The same in a layer that remembers something of each sequence.
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

    /// The rows that the scores of new tokens belong to: themselves, and what is known of their codons.
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

    /// What is known of the codons before the first ones, `[codons, experts]`; none: nothing.
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

    /// `z`, what each codon is predicted to need, `[codons, experts]`.
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

    /// Rows of codons for every new token.
    fn of_tokens(&self, by_codon: Tensor<B, 2>) -> Tensor<B, 2> {
        by_codon.select(0, self.of_new.clone())
    }
}

/// Scores by which codons count, `[tokens, experts]`: the affinities. Siblings that keep out of each other's way are still
/// one expert, so that both have the affinity of the one that is on its side.
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

/// Adds to what a choice is made by what earlier codons say, `closed` where they close a slot.
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

/// 1 for the `pool` experts of which `predicted` is largest, `[codons, experts]`; the younger of siblings goes with the elder.
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
