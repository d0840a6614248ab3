//! `inference --routes`: writes the routes of one request.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::whole_file::write_whole;
use crate::inference::RouteLog;
use crate::model::{FeedForwardPlan, ModelConfig};

/// Routes of a request.
#[derive(Debug, Serialize)]
struct RequestRoutes<'a> {
    /// Tokens that were read: the prompt and the generated tokens, except the last one.
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
fn routed_layers(model: &ModelConfig) -> impl Iterator<Item = usize> {
    let plan = model.plan().into_iter();
    let routes: Vec<bool> = plan
        .map(|layer| matches!(layer.feed_forward, FeedForwardPlan::Moe(_)))
        .collect();
    (1..)
        .zip(routes)
        .filter(|(_, routes)| *routes)
        .map(|(layer, _)| layer)
}

/// Refuses a model without routers.
pub(crate) fn check(model: &ModelConfig) -> Result<(), Failure> {
    match routed_layers(model).next() {
        Some(_) => Ok(()),
        None => Err(Failure::input(
            "`--routes` needs a model with experts: this one is dense",
        )),
    }
}

/// Writes the routes of the tokens in `past`.
pub(crate) fn write(
    path: &Path,
    model: &ModelConfig,
    past: &[u32],
    routes: &RouteLog,
) -> Result<(), Failure> {
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
    let request = RequestRoutes {
        ids: &past[..routes.tokens()],
        layers: layers.collect(),
    };
    write_whole(path, |file| {
        serde_json::to_writer(&mut *file, &request)?;
        writeln!(file)
    })
}
