//! Cosine router: the logit of an expert is the scaled cosine between the projected token and the expert's centroid.
//!
//! Li et al. (<https://arxiv.org/abs/2206.04046>), as in Tutel's cosine gate, with a learned projection and a
//! learned scale. The length of a token does not influence its choice.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use crate::model::error::{MAX_SIZE, ModelConfigError};
use crate::model::init::Initializers;
use crate::model::linear::Linear;

/// Initial scale of the cosines.
const FIRST_SCALE: f64 = 2.0;

/// Upper bound on the scale.
const LARGEST_SCALE: f64 = 100.0;

/// Keeps the direction of a zero vector finite.
const EPS: f64 = 1e-12;

/// Similarity of a token and an expert's centroid.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// Dot product.
    #[default]
    Dot,
    /// Scaled cosine.
    Cosine(CosineConfig),
}

/// Configuration of [`Cosine`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CosineConfig {
    /// Width of the projection in which tokens and centroids are compared.
    pub projection_size: usize,
}

impl Default for CosineConfig {
    fn default() -> Self {
        Self {
            projection_size: 256,
        }
    }
}

impl Similarity {
    pub(super) fn validate(&self) -> Result<(), ModelConfigError> {
        match self {
            Self::Dot => Ok(()),
            Self::Cosine(CosineConfig { projection_size }) => {
                let field = "similarity.cosine.projection_size";
                ModelConfigError::in_range(field, *projection_size, 1, MAX_SIZE)
            }
        }
    }

    /// Width of a centroid.
    pub(crate) fn centroid_size(&self, hidden_size: usize) -> usize {
        match self {
            Self::Dot => hidden_size,
            Self::Cosine(config) => config.projection_size,
        }
    }

    /// Number of weights beside the centroids.
    pub(crate) fn num_params(&self, hidden_size: usize) -> u64 {
        match self {
            Self::Dot => 0,
            Self::Cosine(config) => hidden_size as u64 * config.projection_size as u64 + 1,
        }
    }
}

/// Learned projection and scale of the cosine similarity.
#[derive(Module, Debug)]
pub struct Cosine<B: Backend> {
    /// Projection of tokens, `[hidden_size, projection_size]`.
    pub projection: Linear<B>,
    /// Logarithm of the scale, `[1]`.
    pub log_scale: Param<Tensor<B, 1>>,
}

impl<B: Backend> Cosine<B> {
    pub(super) fn init(config: &CosineConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let hidden = init.config().hidden_size;
        let first = |device: &B::Device| Tensor::full([1], FIRST_SCALE.ln(), device);
        Self {
            projection: init.dense_linear(hidden, config.projection_size, device),
            log_scale: init.valued([1], first, device),
        }
    }
}

impl<B: Ops> Cosine<B> {
    /// `tau cos(P x, w_e)` in f32, where `tau` is the scale, `P` the projection and `w_e` the centroid of slot `e`.
    ///
    /// # Shapes
    ///
    /// - hidden: `[tokens, hidden_size]`, centroids: `[projection_size, slots]`, both f32; output: `[tokens, slots]`
    pub fn logits(&self, hidden: Tensor<B, 2>, centroids: Tensor<B, 2>) -> Tensor<B, 2> {
        let projected = B::project(hidden, self.projection.weight.val().cast(DType::F32));
        let scale = self.log_scale.val().cast(DType::F32);
        let scale = scale.clamp_max(LARGEST_SCALE.ln()).exp();
        B::project(directions(projected, 1), directions(centroids, 0)) * scale.unsqueeze()
    }
}

/// Normalizes vectors along `dim` to length one.
fn directions<B: Backend>(vectors: Tensor<B, 2>, dim: usize) -> Tensor<B, 2> {
    let squares = vectors.clone().powi_scalar(2).sum_dim(dim);
    vectors / (squares + EPS).sqrt()
}
