//! Contribution of every expert to the tokens of a text.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use darkhorse_backends::{Ops, awake};

use super::place::Place;
use crate::data::{DataError, PADDING, PackedBatch};
use crate::domain::Domain;
use crate::model::mixer::TokenMixer;
use crate::model::routing::{Route, Routing};
use crate::model::{CausalLm, ModelConfig, Routed};
use crate::training::batch;

/// Contributions of the experts of every layer that has some.
pub type Activities = BTreeMap<Place, Activity>;

/// Contributions of the routed experts of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Number of tokens that the layer read.
    pub read: u64,
    /// Number of tokens that chose each expert, `[experts]`.
    pub tokens: Vec<u64>,
    /// `gate * ||expert(x)||` summed over these tokens, `[experts]`.
    pub given: Vec<f64>,
}

impl Activity {
    fn of(experts: usize) -> Self {
        Self {
            read: 0,
            tokens: vec![0; experts],
            given: vec![0.0; experts],
        }
    }

    /// Adds one layer's routing of a batch; tokens that are not counted are ignored.
    fn add<B: Ops, R>(&mut self, watched: &Routed<'_, B, R>, is_counted: &[bool]) {
        self.read += is_counted.iter().filter(|counted| **counted).count() as u64;
        let [_, k] = watched.routing.indices.dims();
        for column in 0..k {
            let (experts, given) = contributions(watched, column);
            for ((expert, given), _) in experts
                .into_iter()
                .zip(given)
                .zip(is_counted)
                .filter(|(_, counted)| **counted)
            {
                // higher numbers are null experts
                if let Some(tokens) = self.tokens.get_mut(expert) {
                    *tokens += 1;
                    self.given[expert] += given;
                }
            }
        }
    }
}

/// The expert that each token chose in one column of the choices, and its contribution `gate * ||expert(x)||`.
fn contributions<B: Ops, R>(watched: &Routed<'_, B, R>, column: usize) -> (Vec<usize>, Vec<f64>) {
    let indices = watched.routing.indices.clone().narrow(1, column, 1);
    let alone = Routing {
        weights: Tensor::ones(indices.dims(), &indices.device()),
        indices: indices.clone(),
        ..watched.routing.clone()
    };
    let output = watched.experts.forward(watched.hidden.clone(), &alone);
    let size = output.powi_scalar(2).sum_dim(1).sqrt();
    let gates = watched.routing.weights.clone().narrow(1, column, 1);
    let given = (size.cast(gates.dtype()) * gates).into_data();
    let indices = indices.into_data();
    (
        indices.iter::<i64>().map(|index| index as usize).collect(),
        given.iter::<f64>().collect(),
    )
}

/// Reads batches and sums the contributions of every expert; with a domain, over that domain's tokens only.
///
/// # Errors
///
/// The text cannot be read.
pub fn observe<B, M, R>(
    model: &CausalLm<B, M, R>,
    config: &ModelConfig,
    batches: impl Iterator<Item = Result<PackedBatch, DataError>>,
    domain: Option<Domain>,
) -> Result<Activities, DataError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let mut activities = Activities::new();
    for rows in batches {
        let rows = rows?;
        let of_domain = |of: &u8| domain.is_none_or(|domain| usize::from(*of) == domain.index());
        let places = rows.segments.iter().zip(&rows.domains);
        let is_counted: Vec<bool> = places
            .map(|(segment, of)| *segment != PADDING && of_domain(of))
            .collect();
        let input = batch::sequences(&rows, &model.embed_tokens.device());
        let (model, seen) = (model.clone(), &mut activities);
        awake(move || {
            model.watch_all_routers(&input, |watched| {
                seen.entry(Place::of(watched.layer, config))
                    .or_insert_with(|| Activity::of(watched.routing.experts))
                    .add(&watched, &is_counted);
            });
        });
    }
    Ok(activities)
}
