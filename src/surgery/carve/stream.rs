//! Carving of a whole model, one layer in memory at a time.
//!
//! Every layer is carved on the output of the layers before it as they were carved. The weights of a layer are read,
//! used and dropped; only the residual streams of the texts stay.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::Carving;
use super::cloze::HeldOutText;
use super::dense_layer::DenseLayer;
use super::layer::{self, CarvedLayer, Division};
use super::losses::TextLoss;
use super::markers::Markers;
use super::measure::{Chooser, Pair, Quality};
use super::partition::Partition;
use super::slices::Slices;
use crate::data::PackedBatch;
use crate::model::feed_forward::FeedForward;
use crate::model::feed_forward::moe::Moe;
use crate::model::weights::{self, WeightError, WeightSource, Within};
use crate::model::{Block, CausalLm, ModelConfig};
use crate::surgery::residual_stream::ResidualStream;
use crate::surgery::sparse::{Phases, SparseError, SparseSource};

/// Text to carve by, and other text to measure on.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// Text that chooses the experts and fits the routers.
    pub calibration: &'a [PackedBatch],
    /// Held-out text.
    pub held_out: &'a HeldOutText,
}

/// Held-out measurements of a carved layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Error and recall of the layer as it was carved, on the output of the carved layers before it.
    #[serde(flatten)]
    pub quality: Quality,
    /// Comparison with other routers and partitions, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

/// Errors of other choices on the same inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The experts with the largest true contributions.
    pub oracle: Quality,
    /// The router by representative neurons.
    pub representative: Quality,
    /// Experts by lot.
    pub random: Quality,
    /// A random partition, with a router found in the same way.
    pub random_partition: Quality,
}

/// A carved model: its experts and routers, and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Carved {
    /// Experts and router of every carved layer.
    pub layers: BTreeMap<usize, CarvedLayer>,
    /// Measurements of every carved layer.
    pub records: Vec<LayerRecord>,
    /// Loss of the dense model on the held-out text.
    pub dense: TextLoss,
    /// Loss of the carved model on the held-out text.
    pub carved: TextLoss,
}

/// A model cannot be carved.
#[derive(Debug, thiserror::Error)]
pub enum CarveError {
    /// The model does not allow it.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// Weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// Activations are not finite.
    #[error(
        "the inputs of layer {0}'s feed-forward are not finite on this text: the weights are damaged, or not those of this configuration"
    )]
    NotFinite(usize),
    /// The held-out text predicts no token.
    #[error("the held-out text has no token to predict")]
    Nothing,
}

/// Carves the model of `config` with the weights of `source`. After each carved layer `told` gets its record.
///
/// # Errors
///
/// [`CarveError`].
pub fn carve<B: Ops>(
    carving: &Carving,
    config: &ModelConfig,
    source: &dyn WeightSource,
    texts: Texts<'_>,
    device: &B::Device,
    phases: &mut Phases,
    mut told: impl FnMut(&LayerRecord),
) -> Result<Carved, CarveError> {
    let carver = Carver::<B> {
        carving,
        dense: config,
        sparse: carving.config(config)?,
        source,
        device,
    };
    let ends = carver.ends()?;
    let mut calibration = ResidualStream::embed(&ends, texts.calibration);
    let mut held_out = HeldOut {
        carved: ResidualStream::embed(&ends, texts.held_out.rows()),
        dense: ResidualStream::embed(&ends, texts.held_out.rows()),
    };
    drop(ends);
    let (mut plans, mut records) = (BTreeMap::new(), Vec::new());
    for (at, layer) in carver.layers(config).into_iter().enumerate() {
        let layer = phases.run("read", || weights::load(layer, &Within::layer(source, at)))?;
        phases.run("held-out text", || held_out.pass(&layer));
        phases.run("calibration text", || calibration.mix(&layer));
        let carved = match &layer.feed_forward {
            FeedForward::Dense(swiglu) if !carving.dense.contains(&at) => {
                let dense = DenseLayer::of(swiglu);
                let inputs = || calibration.inputs(&layer);
                let (layer_carver, plan) = carver.plan(at, &dense, inputs, phases)?;
                let carved = carver.block(at, &plan)?;
                let record = phases.run("held-out measures", || {
                    let held_out = || held_out.carved.inputs(&layer);
                    layer_carver.measure((&plan, &carved), inputs, held_out)
                })?;
                told(&record);
                records.push(record);
                plans.insert(at, plan);
                carved
            }
            _ => layer,
        };
        phases.run("held-out text", || held_out.carved.transform(&carved));
        phases.run("calibration text", || calibration.transform(&carved));
    }
    drop(calibration);
    let ends = carver.ends()?;
    let loss = |states: &ResidualStream<B>| {
        TextLoss::of(&ends, states, texts.held_out).ok_or(CarveError::Nothing)
    };
    let (dense, carved) = phases.run("held-out text", || {
        (loss(&held_out.dense), loss(&held_out.carved))
    });
    Ok(Carved {
        layers: plans,
        records,
        dense: dense?,
        carved: carved?,
    })
}

/// The held-out text in both models.
struct HeldOut<B: Ops> {
    carved: ResidualStream<B>,
    dense: ResidualStream<B>,
}

impl<B: Ops> HeldOut<B> {
    /// Runs the whole dense layer in the dense model, and its mixer in the carved one.
    fn pass(&mut self, layer: &Block<B>) {
        self.dense.mix(layer);
        self.dense.transform(layer);
        self.carved.mix(layer);
    }
}

/// Where layers come from.
struct Carver<'a, B: Backend> {
    carving: &'a Carving,
    dense: &'a ModelConfig,
    sparse: ModelConfig,
    source: &'a dyn WeightSource,
    device: &'a B::Device,
}

impl<B: Ops> Carver<'_, B> {
    /// The layers of a model, whose weights are not drawn.
    fn layers(&self, config: &ModelConfig) -> Vec<Block<B>> {
        CausalLm::<B>::init(config, 0, self.device).layers
    }

    /// Embedding, final norm and head of the dense model.
    fn ends(&self) -> Result<CausalLm<B>, WeightError> {
        let mut model = CausalLm::init(self.dense, 0, self.device);
        model.layers = Vec::new();
        weights::load(model, &Within::outside_layers(self.source))
    }

    /// A carved layer as it will be written.
    fn block(&self, at: usize, plan: &CarvedLayer) -> Result<Block<B>, WeightError> {
        let plans = BTreeMap::from([(at, plan.clone())]);
        let source = SparseSource::new(self.source, [at], Slices::new(self.source, plans));
        let layer = self.layers(&self.sparse).swap_remove(at);
        weights::load(layer, &Within::layer(&source, at))
    }

    /// Finds the experts and the router of a layer.
    fn plan<'l, I: Iterator<Item = Tensor<B, 2>>>(
        &'l self,
        at: usize,
        dense: &'l DenseLayer<B>,
        inputs: impl Fn() -> I,
        phases: &mut Phases,
    ) -> Result<(LayerCarver<'l, B>, CarvedLayer), CarveError> {
        let layer = LayerCarver {
            carver: self,
            at,
            dense,
            markers: phases.run("markers", || layer::marks(dense, inputs())),
            seed: self.carving.seed.wrapping_add(at as u64),
        };
        let division = self.carving.division;
        let partition = phases.run("clusters", || layer.partition(division, layer.seed));
        let plan = phases.run("router", || layer.routed(partition, inputs()))?;
        Ok((layer, plan))
    }
}

/// The carving of one layer.
struct LayerCarver<'a, B: Ops> {
    carver: &'a Carver<'a, B>,
    at: usize,
    dense: &'a DenseLayer<B>,
    markers: Markers,
    seed: u64,
}

impl<B: Ops> LayerCarver<'_, B> {
    fn partition(&self, division: Division, seed: u64) -> Partition {
        let sizes = self.carver.carving.sizes(self.carver.dense);
        layer::partition(&self.markers, sizes, division, seed)
    }

    /// A partition with its router.
    fn routed(
        &self,
        partition: Partition,
        inputs: impl Iterator<Item = Tensor<B, 2>>,
    ) -> Result<CarvedLayer, CarveError> {
        let rule = self.carver.carving.router;
        let router = layer::router(self.dense, &partition, rule, inputs);
        let router = router.ok_or(CarveError::NotFinite(self.at))?;
        Ok(CarvedLayer { partition, router })
    }

    /// Measures the carved layer on held-out text, and other choices if that was asked for; `inputs` are those that a
    /// router is found by.
    fn measure<I: Iterator<Item = Tensor<B, 2>>, H: Iterator<Item = Tensor<B, 2>>>(
        &self,
        own: (&CarvedLayer, &Block<B>),
        inputs: impl Fn() -> I,
        held_out: impl Fn() -> H,
    ) -> Result<LayerRecord, CarveError> {
        let [quality] = self.qualities([Chooser::Router], own, held_out())?;
        let mut analysis = None;
        if self.carver.carving.analyse {
            let choosers = [Chooser::Oracle, Chooser::Representative, Chooser::Random];
            let [oracle, representative, random] = self.qualities(choosers, own, held_out())?;
            // another seed than that of a carving by lot
            let partition = self.partition(Division::Random, !self.seed);
            let other = self.routed(partition, inputs())?;
            let block = self.carver.block(self.at, &other)?;
            let [random_partition] =
                self.qualities([Chooser::Router], (&other, &block), held_out())?;
            analysis = Some(Analysis {
                oracle,
                representative,
                random,
                random_partition,
            });
        }
        Ok(LayerRecord {
            layer: self.at,
            quality,
            analysis,
        })
    }

    fn qualities<const N: usize>(
        &self,
        choosers: [Chooser; N],
        (plan, block): (&CarvedLayer, &Block<B>),
        inputs: impl Iterator<Item = Tensor<B, 2>>,
    ) -> Result<[Quality; N], CarveError> {
        let failed = CarveError::NotFinite(self.at);
        let moe: &Moe<B> = match &block.feed_forward {
            FeedForward::Moe(moe) => moe,
            FeedForward::Dense(_) | FeedForward::Selective(_) => return Err(failed),
        };
        let pair = Pair {
            dense: self.dense,
            partition: &plan.partition,
            moe,
            top_k: self.carver.carving.top_k,
        };
        let qualities = pair.qualities(choosers, &self.markers, inputs, self.seed);
        let are_finite = qualities.iter().all(|quality| quality.error.is_finite());
        are_finite.then_some(qualities).ok_or(failed)
    }
}
