//! Weights of a dense model under the names of a model with experts.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use burn::tensor::{DType, TensorData};

use crate::model::weights::{WeightError, WeightSource, slice};

/// A projection of a SwiGLU feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// `[hidden_size, width]`.
    Gate,
    /// `[hidden_size, width]`.
    Up,
    /// `[width, hidden_size]`.
    Down,
}

impl Projection {
    /// All projections.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Up, Self::Down];

    /// Name of the projection's module.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// Name of a layer's dense matrix.
    pub fn dense(self, layer: usize) -> String {
        format!("layers.{layer}.feed_forward.{}.weight", self.name())
    }

    /// The projection whose stack of experts is called `name` within a feed-forward.
    pub(in crate::surgery) fn of_experts(name: &str) -> Option<Self> {
        Self::of(name.strip_prefix("experts.")?)
    }

    /// The projection of this name.
    pub(in crate::surgery) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// Tensors of the feed-forwards of layers with experts, by their names within the feed-forward, as in
/// `experts.gate_proj`.
pub trait FeedForwards {
    /// Names within every feed-forward.
    fn names(&self) -> Vec<&'static str>;

    /// Shape and element type of a tensor; `None` if there is none of this name.
    fn facts(&self, layer: usize, name: &str) -> Option<(Vec<usize>, DType)>;

    /// Values of a tensor whose [`facts`](Self::facts) are known.
    ///
    /// # Errors
    ///
    /// The dense weights cannot be read.
    fn data(&self, layer: usize, name: &str) -> Result<TensorData, WeightError>;

    /// Slice `index` of a tensor's first dimension.
    ///
    /// # Errors
    ///
    /// Those of [`data`](Self::data).
    fn part(&self, layer: usize, name: &str, index: usize) -> Result<TensorData, WeightError> {
        Ok(slice(&self.data(layer, name)?, index))
    }
}

/// A source of weights in which some layers have the tensors of other feed-forwards.
pub struct SparseSource<'a, F> {
    dense: &'a dyn WeightSource,
    /// Layers with experts.
    layers: BTreeSet<usize>,
    feed_forwards: F,
}

impl<F> fmt::Debug for SparseSource<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseSource")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl<'a, F: FeedForwards> SparseSource<'a, F> {
    /// The weights of `dense` with other feed-forwards in `layers`.
    pub fn new(
        dense: &'a dyn WeightSource,
        layers: impl IntoIterator<Item = usize>,
        feed_forwards: F,
    ) -> Self {
        Self {
            dense,
            layers: layers.into_iter().collect(),
            feed_forwards,
        }
    }

    /// The new feed-forwards.
    pub fn feed_forwards(&self) -> &F {
        &self.feed_forwards
    }

    /// The converted layer and the name within its feed-forward that a tensor has.
    fn place<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        let name = rest.strip_prefix("feed_forward.")?;
        self.layers.contains(&layer).then_some((layer, name))
    }

    fn missing(&self, name: &str) -> WeightError {
        WeightError::Missing {
            path: self.dense.path().to_path_buf(),
            names: vec![name.into()],
        }
    }
}

impl<F: FeedForwards> WeightSource for SparseSource<'_, F> {
    fn path(&self) -> &Path {
        self.dense.path()
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.dense.names();
        names.retain(|name| self.place(name).is_none());
        for layer in &self.layers {
            let of_layer = self.feed_forwards.names().into_iter();
            names.extend(of_layer.map(|name| format!("layers.{layer}.feed_forward.{name}")));
        }
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self.place(name) {
            Some((layer, part)) => Some(self.feed_forwards.facts(layer, part)?.0),
            None => self.dense.shape(name),
        }
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        match self.place(name) {
            Some((layer, part)) => Some(self.feed_forwards.facts(layer, part)?.1),
            None => self.dense.dtype(name),
        }
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        match self.place(name) {
            None => self.dense.data(name),
            Some((layer, part)) if self.feed_forwards.facts(layer, part).is_some() => {
                self.feed_forwards.data(layer, part)
            }
            Some(_) => Err(self.missing(name)),
        }
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        match self.place(name) {
            None => self.dense.part(name, index),
            Some((layer, part)) if self.feed_forwards.facts(layer, part).is_some() => {
                self.feed_forwards.part(layer, part, index)
            }
            Some(_) => Err(self.missing(name)),
        }
    }
}
