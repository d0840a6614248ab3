//! Feed-forwards whose experts are slices of a dense one.

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};

use super::layer::CarvedLayer;
use crate::model::weights::{Values, WeightError, WeightSource};
use crate::surgery::sparse::{FeedForwards, Projection};

const ROUTER: &str = "router.gate.weight";
const INTERCEPT: &str = "router.gate.bias";
const SCALE: &str = "router.unit_scale";
const BIAS: &str = "router.e_score_correction_bias";
const EXPERTS: [&str; 3] = ["experts.gate_proj", "experts.up_proj", "experts.down_proj"];
const SHARED: [&str; 3] = [
    "shared_experts.gate_proj.weight",
    "shared_experts.up_proj.weight",
    "shared_experts.down_proj.weight",
];

/// Feed-forwards of carved layers, cut from the dense weights while they are read.
///
/// The rows or columns of all three projections are cut at the same neurons, so that the experts together compute what
/// the dense feed-forward does.
pub struct Slices<'a> {
    dense: &'a dyn WeightSource,
    has_shared: bool,
    layers: BTreeMap<usize, CarvedLayer>,
}

impl std::fmt::Debug for Slices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slices")
            .field("layers", &self.layers.keys())
            .finish_non_exhaustive()
    }
}

/// A tensor of a carved feed-forward.
enum Part<'n> {
    /// The stack of the routed experts.
    Routed(Projection),
    /// The shared experts.
    Shared(Projection),
    /// A parameter of the router.
    Router(&'n str),
}

impl<'n> Part<'n> {
    fn of(name: &'n str) -> Option<Self> {
        if let Some(projection) = Projection::of_experts(name) {
            return Some(Self::Routed(projection));
        }
        if let Some(rest) = name.strip_prefix("shared_experts.") {
            let projection = Projection::of(rest.strip_suffix(".weight")?)?;
            return Some(Self::Shared(projection));
        }
        [ROUTER, INTERCEPT, SCALE, BIAS]
            .contains(&name)
            .then_some(Self::Router(name))
    }
}

impl<'a> Slices<'a> {
    /// Cuts the feed-forwards of `dense` as planned.
    pub fn new(dense: &'a dyn WeightSource, layers: BTreeMap<usize, CarvedLayer>) -> Self {
        let mut all = layers.values();
        Self {
            dense,
            has_shared: all.any(|layer| !layer.partition.shared.is_empty()),
            layers,
        }
    }

    /// The plans of the layers.
    pub fn layers(&self) -> &BTreeMap<usize, CarvedLayer> {
        &self.layers
    }

    /// Width of the residual stream.
    fn hidden(&self, layer: usize) -> Option<usize> {
        let shape = self.dense.shape(&Projection::Gate.dense(layer))?;
        shape.first().copied()
    }
}

impl FeedForwards for Slices<'_> {
    fn names(&self) -> Vec<&'static str> {
        let shared = SHARED.into_iter().filter(|_| self.has_shared);
        let router = [ROUTER, INTERCEPT, SCALE, BIAS];
        EXPERTS.into_iter().chain(shared).chain(router).collect()
    }

    fn facts(&self, layer: usize, name: &str) -> Option<(Vec<usize>, DType)> {
        let part = Part::of(name)?;
        let partition = &self.layers.get(&layer)?.partition;
        let hidden = self.hidden(layer)?;
        let experts = partition.routed.len();
        let matrix = |projection: Projection, width: usize| match projection {
            Projection::Gate | Projection::Up => [hidden, width],
            Projection::Down => [width, hidden],
        };
        Some(match part {
            Part::Router(ROUTER) => (vec![hidden, experts], DType::F32),
            Part::Router(_) => (vec![experts], DType::F32),
            Part::Shared(projection) if self.has_shared => {
                let shape = matrix(projection, partition.shared.len()).to_vec();
                (shape, self.dense.dtype(&projection.dense(layer))?)
            }
            Part::Shared(_) => return None,
            Part::Routed(projection) => {
                let [rows, columns] = matrix(projection, partition.routed.first()?.len());
                let dtype = self.dense.dtype(&projection.dense(layer))?;
                (vec![experts, rows, columns], dtype)
            }
        })
    }

    fn data(&self, layer: usize, name: &str) -> Result<TensorData, WeightError> {
        let missing = || WeightError::Missing {
            path: self.dense.path().to_path_buf(),
            names: vec![format!("layers.{layer}.feed_forward.{name}")],
        };
        let (shape, dtype) = self.facts(layer, name).ok_or_else(missing)?;
        let (part, plan) = Part::of(name)
            .zip(self.layers.get(&layer))
            .ok_or_else(missing)?;
        let (projection, groups) = match &part {
            Part::Router(ROUTER) => return Ok(plan.router.weights()),
            Part::Router(INTERCEPT) => return Ok(plan.router.intercepts()),
            Part::Router(_) => return Ok(TensorData::zeros::<f32, _>(shape)),
            Part::Shared(projection) => (*projection, std::slice::from_ref(&plan.partition.shared)),
            Part::Routed(projection) => (*projection, plan.partition.routed.as_slice()),
        };
        let whole = self.dense.data(&projection.dense(layer))?;
        let mut values = Values::with_capacity(dtype.size(), shape.iter().product());
        for neurons in groups {
            cut(&whole, projection, neurons, &mut values);
        }
        Ok(values.into_data(shape, dtype))
    }
}

/// Appends the rows or columns of a dense matrix that belong to some neurons.
fn cut(whole: &TensorData, projection: Projection, neurons: &[usize], values: &mut Values) {
    let row = whole.bytes.len() / whole.shape[0].max(1);
    match projection {
        Projection::Down => {
            for &neuron in neurons {
                values.extend(&whole.bytes[neuron * row..][..row]);
            }
        }
        Projection::Gate | Projection::Up => {
            let size = whole.dtype.size();
            let mut some = Vec::with_capacity(neurons.len() * size);
            for row in whole.bytes.chunks(row.max(1)) {
                some.clear();
                for &neuron in neurons {
                    some.extend_from_slice(&row[neuron * size..][..size]);
                }
                values.extend(&some);
            }
        }
    }
}
