//! Initial weights, drawn on the host: the same seed gives the same model on every backend.

use std::cell::RefCell;

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::ModelConfig;
use super::linear::Linear;
use super::norm::RmsNorm;
use rand_chacha::rand_core::SeedableRng;

/// Draws the parameters of a model, one after the other.
#[derive(Debug)]
pub struct Initializers<'a> {
    config: &'a ModelConfig,
    rng: RefCell<ChaCha8Rng>,
}

impl<'a> Initializers<'a> {
    /// Starts the draws of the model that `config` describes.
    pub fn new(config: &'a ModelConfig, seed: u64) -> Self {
        Self {
            config,
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed)),
        }
    }

    /// What is being built.
    pub fn config(&self) -> &'a ModelConfig {
        self.config
    }

    /// A weight matrix, normal with standard deviation `initializer_range`.
    pub fn linear<B: Backend>(&self, inner: usize, outer: usize, device: &B::Device) -> Linear<B> {
        Linear {
            weight: self.normal([inner, outer], self.config.initializer_range, device),
        }
    }

    /// A weight matrix whose output is added to the residual stream: its deviation shrinks with
    /// the number of such additions, `1 / sqrt(2 * num_hidden_layers)`.
    pub fn residual_linear<B: Backend>(
        &self,
        inner: usize,
        outer: usize,
        device: &B::Device,
    ) -> Linear<B> {
        Linear {
            weight: self.normal([inner, outer], self.residual_range(), device),
        }
    }

    /// Standard deviation of projections into the residual stream.
    pub fn residual_range(&self) -> f64 {
        let additions = 2 * self.config.num_hidden_layers;
        self.config.initializer_range / (additions as f64).sqrt()
    }

    /// A normalization with unit weight.
    pub fn norm<B: Backend>(&self, width: usize, device: &B::Device) -> RmsNorm<B> {
        RmsNorm::new(
            Param::from_tensor(Tensor::ones([width], device)),
            self.config.rms_norm_eps,
        )
    }

    /// A parameter drawn from a normal distribution around zero.
    pub fn normal<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        deviation: f64,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        let mut rng = self.rng.borrow_mut();
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                let unit: f32 = StandardNormal.sample(&mut *rng);
                unit * deviation as f32
            })
            .collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
    }
}
