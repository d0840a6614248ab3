//! The routes of a request in the form in which they are written and sent.

use serde::Serialize;

use super::routes::RouteLog;
use crate::model::{FeedForwardPlan, ModelConfig};

/// Routes of a request.
#[derive(Debug, Serialize)]
pub struct RequestRoutes<'a> {
    /// Tokens that were read.
    ids: &'a [u32],
    layers: Vec<LayerRoutes<'a>>,
}

/// Routes in one layer.
#[derive(Debug, Serialize)]
struct LayerRoutes<'a> {
    /// Number of the layer in the model, from 1.
    layer: usize,
    /// Number of visits to each routed expert.
    visits: Vec<u64>,
    /// Number of choices of each null expert.
    null_visits: Vec<u64>,
    /// Slots that each token chose, the likeliest first; slots from the number of experts on are null experts.
    slots: Vec<&'a [u32]>,
    /// Gates of these slots.
    gates: Vec<&'a [f32]>,
}

/// Numbers of the layers with routers, from 1.
pub fn routed_layers(model: &ModelConfig) -> impl Iterator<Item = usize> {
    let plan = model.plan().into_iter();
    let routes: Vec<bool> = plan
        .map(|layer| matches!(layer.feed_forward, FeedForwardPlan::Moe(_)))
        .collect();
    (1..)
        .zip(routes)
        .filter(|(_, routes)| *routes)
        .map(|(layer, _)| layer)
}

impl<'a> RequestRoutes<'a> {
    /// The routes of the first tokens of `past`, all of which were read from the first one on.
    pub fn new(model: &ModelConfig, past: &'a [u32], routes: &'a RouteLog) -> Self {
        let layers = routed_layers(model).zip(routes.layers());
        let layers = layers.map(|(layer, log)| {
            let counts = log.counts();
            LayerRoutes {
                layer,
                visits: counts.experts,
                null_visits: counts.null,
                slots: log.choices.chunks_exact(log.num_experts_per_tok).collect(),
                gates: log.gates.chunks_exact(log.num_experts_per_tok).collect(),
            }
        });
        Self {
            ids: &past[..routes.tokens().min(past.len())],
            layers: layers.collect(),
        }
    }

    /// Number of choices in all layers.
    pub fn choices(&self) -> usize {
        let of_layer =
            |layer: &LayerRoutes<'_>| layer.slots.iter().map(|it| it.len()).sum::<usize>();
        self.layers.iter().map(of_layer).sum()
    }
}
