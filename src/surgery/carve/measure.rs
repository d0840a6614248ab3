//! What a carved layer loses on held-out text, with its own router and with others.

use burn::tensor::activation::silu;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::dense_layer::{Contributions, DenseLayer};
use super::markers::Markers;
use super::partition::Partition;
use crate::model::feed_forward::moe::Moe;
use crate::model::routing::{Route, Router, Routing, Surroundings};

/// Quality of a choice of experts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Squared error of the layer's output over the square of the dense one, `sum ||y - y'||^2 / sum ||y||^2`.
    pub error: f64,
    /// Share of the chosen experts that are among the `k` with the largest contributions.
    pub recall: f64,
}

/// Chooses experts by scores, to compare routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chooser {
    /// The true contributions, which a router cannot know.
    Oracle,
    /// The router of the carved layer.
    Router,
    /// The activation `|silu(x g) (x u)|` of the neuron nearest to each expert's mean marks (CMoE).
    Representative,
    /// Lots.
    Random,
}

/// Sums over tokens.
#[derive(Debug, Default)]
struct Sums {
    error: f64,
    square: f64,
    hits: u64,
    choices: u64,
}

impl Sums {
    fn quality(&self) -> Quality {
        Quality {
            error: self.error / self.square.max(f64::MIN_POSITIVE),
            recall: self.hits as f64 / self.choices.max(1) as f64,
        }
    }
}

/// A carved layer and the dense one that it was made of.
#[derive(Debug)]
pub(super) struct Pair<'a, B: Ops> {
    pub(super) dense: &'a DenseLayer<B>,
    pub(super) partition: &'a Partition,
    pub(super) moe: &'a Moe<B, Router<B>>,
    pub(super) top_k: usize,
}

impl<B: Ops> Pair<'_, B> {
    /// Quality of each chooser on the inputs of the dense layer. `markers` are needed for representatives.
    pub(super) fn qualities<const N: usize>(
        &self,
        choosers: [Chooser; N],
        markers: &Markers,
        inputs: impl Iterator<Item = Tensor<B, 2>>,
        seed: u64,
    ) -> [Quality; N] {
        let contributions = Contributions::new(self.dense, self.partition);
        let representatives = choosers.contains(&Chooser::Representative).then(|| {
            self.dense
                .part(&markers.representatives(&self.partition.routed))
        });
        let mut lots = ChaCha8Rng::seed_from_u64(seed);
        let mut sums = choosers.map(|_| Sums::default());
        for inputs in inputs {
            let expected = self.dense.output(inputs.clone());
            let square = squares(expected.clone());
            let routing = self
                .moe
                .router
                .route(inputs.clone(), &Surroundings::default());
            let true_sizes = contributions.of(inputs.clone());
            let best = B::top_k(true_sizes.clone(), self.top_k);
            let best_of_tokens: Vec<i64> = best.clone().into_data().iter().collect();
            for (chooser, sums) in choosers.iter().zip(&mut sums) {
                let chosen = match chooser {
                    Chooser::Router => routing.indices.clone(),
                    Chooser::Oracle => best.clone(),
                    Chooser::Representative => {
                        let Some(neurons) = &representatives else {
                            continue;
                        };
                        let gate = silu(B::project_saving(inputs.clone(), neurons.gate.clone()));
                        let up = B::project_saving(inputs.clone(), neurons.up.clone());
                        B::top_k((gate * up).abs(), self.top_k)
                    }
                    Chooser::Random => {
                        let dims = true_sizes.dims();
                        let scores: Vec<f32> =
                            (0..dims[0] * dims[1]).map(|_| lots.random()).collect();
                        let scores = TensorData::new(scores, dims);
                        B::top_k(Tensor::from_data(scores, &inputs.device()), self.top_k)
                    }
                };
                let found = self.output(inputs.clone(), chosen.clone(), &routing);
                sums.error += squares(found - expected.clone());
                sums.square += square;
                let chosen: Vec<i64> = chosen.into_data().iter().collect();
                let pairs = chosen
                    .chunks(self.top_k)
                    .zip(best_of_tokens.chunks(self.top_k));
                let hits = pairs.map(|(of, best)| of.iter().filter(|it| best.contains(it)).count());
                sums.hits += hits.sum::<usize>() as u64;
                sums.choices += chosen.len() as u64;
            }
        }
        sums.map(|sums| sums.quality())
    }

    /// Output of the carved layer with given experts, all gates 1.
    fn output(
        &self,
        inputs: Tensor<B, 2>,
        indices: Tensor<B, 2, Int>,
        routing: &Routing<B>,
    ) -> Tensor<B, 2> {
        let routing = Routing {
            weights: Tensor::ones(indices.dims(), &inputs.device()),
            indices,
            ..routing.clone()
        };
        let routed = self.moe.experts.forward(inputs.clone(), &routing);
        match &self.moe.shared_experts {
            Some(shared) => routed + shared.forward(inputs),
            None => routed,
        }
    }
}

fn squares<B: Ops>(values: Tensor<B, 2>) -> f64 {
    // rows first, so that a sum over many tokens keeps its digits
    let rows = values.powi_scalar(2).sum_dim(1).into_data();
    rows.iter::<f64>().sum()
}
