//! Carving of one layer: from the inputs of its dense feed-forward to experts and a router.

use burn::tensor::Tensor;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::dense_layer::{Contributions, DenseLayer};
use super::linear_router::LinearRouter;
use super::markers::Markers;
use super::partition::{Partition, Sizes};
use super::ridge::Normal;

/// How a router's weights are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterRule {
    /// Ridge regression of the contributions `||FFN_e(x)||` on the input.
    Ridge,
    /// The mean of the gate projection's columns of an expert's neurons: the neurons' own gates say which expert a
    /// token needs, after ExpertWeaver (<https://arxiv.org/abs/2602.15521>).
    GateWeights,
}

/// How neurons are divided among the routed experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Division {
    /// By the tokens that mark them.
    Clustered,
    /// By lot.
    Random,
}

/// Experts and router of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct CarvedLayer {
    /// Neurons of every expert.
    pub partition: Partition,
    /// The router.
    pub router: LinearRouter,
}

/// Marks of all tokens.
pub(super) fn marks<B: Ops>(
    dense: &DenseLayer<B>,
    inputs: impl Iterator<Item = Tensor<B, 2>>,
) -> Markers {
    let [_, width] = dense.dims();
    let sizes = dense.sizes();
    let mut markers = Markers::new(width);
    for inputs in inputs {
        let activations = dense.activations(inputs).into_data().convert::<f32>();
        if let Ok(activations) = activations.as_slice::<f32>() {
            markers.add(activations, &sizes);
        }
    }
    markers
}

/// The partition of a layer.
pub(super) fn partition(
    markers: &Markers,
    sizes: Sizes,
    division: Division,
    seed: u64,
) -> Partition {
    match division {
        Division::Clustered => Partition::clustered(markers, sizes),
        Division::Random => Partition::random(markers, sizes, seed),
    }
}

/// The router of a partition. `None` if an activation is not finite.
pub(super) fn router<B: Ops>(
    dense: &DenseLayer<B>,
    partition: &Partition,
    rule: RouterRule,
    inputs: impl Iterator<Item = Tensor<B, 2>>,
) -> Option<LinearRouter> {
    let [hidden, _] = dense.dims();
    let experts = partition.routed.len();
    let mut normal = Normal::new(hidden, experts);
    match rule {
        RouterRule::Ridge => {
            let contributions = Contributions::new(dense, partition);
            for inputs in inputs {
                let targets = contributions.of(inputs.clone());
                normal.add(inputs, targets);
            }
            normal.solve()
        }
        RouterRule::GateWeights => {
            for inputs in inputs {
                let [tokens, _] = inputs.dims();
                let none = Tensor::zeros([tokens, experts], &inputs.device());
                normal.add(inputs, none);
            }
            let columns = partition.routed.iter().map(|neurons| {
                let mean = dense.part(neurons).gate.mean_dim(1).into_data();
                mean.iter::<f64>().collect::<Vec<_>>()
            });
            let columns: Vec<Vec<f64>> = columns.collect();
            let row = |at: usize| columns.iter().map(move |column| column[at]);
            let weights: Vec<f64> = (0..hidden).flat_map(row).collect();
            normal.standardized(&weights, &vec![0.0; experts])
        }
    }
}
