//! Experts that are copies of a dense feed-forward, some of their dimensions drawn anew.

use burn::tensor::{DType, TensorData};
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

use super::Upcycling;
use crate::model::ModelConfig;
use crate::model::weights::{Values, WeightError, WeightSource, slice};
use crate::surgery::sparse::{FeedForwards, Projection};

const ROUTER: &str = "router.gate.weight";
const BIAS: &str = "router.e_score_correction_bias";
const EXPERTS: [&str; 3] = ["experts.gate_proj", "experts.up_proj", "experts.down_proj"];

/// Kinds of random streams; the others are numbered by layer and expert.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Router,
    Dimensions(usize),
    Values(Projection, usize),
}

/// Feed-forwards with copies of the dense one as experts, and routers with small random centroids.
pub struct Copies<'a> {
    dense: &'a dyn WeightSource,
    experts: usize,
    hidden: usize,
    width: usize,
    /// Number of intermediate dimensions of an expert that are drawn anew.
    dropped: usize,
    /// Standard deviation of the centroids.
    deviation: f64,
    seed: u64,
}

impl std::fmt::Debug for Copies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copies")
            .field("experts", &self.experts)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl<'a> Copies<'a> {
    pub(super) fn new(
        dense: &'a dyn WeightSource,
        config: &ModelConfig,
        upcycling: &Upcycling,
    ) -> Self {
        let width = config.intermediate_size;
        Self {
            dense,
            experts: upcycling.experts,
            hidden: config.hidden_size,
            width,
            dropped: (upcycling.drop * width as f64).round() as usize,
            deviation: config.initializer_range,
            seed: upcycling.seed,
        }
    }

    fn random(&self, layer: usize, stream: Stream) -> ChaCha8Rng {
        let number = match stream {
            Stream::Router => 0,
            Stream::Dimensions(expert) => 1 + 4 * expert,
            Stream::Values(projection, expert) => 2 + projection as usize + 4 * expert,
        };
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream((layer as u64) << 32 | number as u64);
        random
    }

    /// Intermediate dimensions of an expert that are drawn anew, equal for its three projections.
    pub fn dropped(&self, layer: usize, expert: usize) -> Vec<usize> {
        let mut random = self.random(layer, Stream::Dimensions(expert));
        index::sample(&mut random, self.width, self.dropped).into_vec()
    }

    /// An expert's matrix, made from the dense one.
    fn expert(
        &self,
        layer: usize,
        projection: Projection,
        expert: usize,
        dense: &TensorData,
    ) -> Result<TensorData, WeightError> {
        if self.dropped == 0 {
            return Ok(dense.clone());
        }
        let (dtype, shape) = (dense.dtype, dense.shape.clone());
        let mut values: Vec<f32> = dense.iter().collect();
        let Some(of_matrix) = distribution(&values) else {
            let name = projection.dense(layer);
            let path = self.dense.path().display();
            let why = format!("{path}: `{name}` has values that are not finite");
            return Err(WeightError::Read(why.into()));
        };
        let mut random = self.random(layer, Stream::Values(projection, expert));
        for dimension in self.dropped(layer, expert) {
            let row = match projection {
                Projection::Gate | Projection::Up => dimension..values.len(),
                Projection::Down => dimension * self.hidden..(dimension + 1) * self.hidden,
            };
            let step = match projection {
                Projection::Gate | Projection::Up => self.width,
                Projection::Down => 1,
            };
            for value in values[row].iter_mut().step_by(step) {
                *value = of_matrix.sample(&mut random) as f32;
            }
        }
        Ok(TensorData::new(values, shape).convert_dtype(dtype))
    }
}

/// The normal distribution with the mean and deviation of some values; `None` if these are not finite.
fn distribution(values: &[f32]) -> Option<Normal<f64>> {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares = values
        .iter()
        .map(|&value| (f64::from(value) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    Normal::new(mean, deviation).ok()
}

impl FeedForwards for Copies<'_> {
    fn names(&self) -> Vec<&'static str> {
        let [gate, up, down] = EXPERTS;
        vec![gate, up, down, ROUTER, BIAS]
    }

    fn facts(&self, layer: usize, name: &str) -> Option<(Vec<usize>, DType)> {
        match name {
            ROUTER => Some((vec![self.hidden, self.experts], DType::F32)),
            BIAS => Some((vec![self.experts], DType::F32)),
            _ => {
                let dense = Projection::of_experts(name)?.dense(layer);
                let mut shape = self.dense.shape(&dense)?;
                shape.insert(0, self.experts);
                Some((shape, self.dense.dtype(&dense)?))
            }
        }
    }

    fn data(&self, layer: usize, name: &str) -> Result<TensorData, WeightError> {
        let Some(projection) = Projection::of_experts(name) else {
            if name == BIAS {
                return Ok(TensorData::zeros::<f32, _>([self.experts]));
            }
            let mut random = self.random(layer, Stream::Router);
            let centroids = Normal::new(0.0, self.deviation).expect("the range was validated");
            let draw = |_| centroids.sample(&mut random) as f32;
            let values: Vec<f32> = (0..self.hidden * self.experts).map(draw).collect();
            return Ok(TensorData::new(values, [self.hidden, self.experts]));
        };
        let dense = self.dense.data(&projection.dense(layer))?;
        let size = dense.dtype.size();
        let count = dense.bytes.len() / size.max(1);
        let mut stack = Values::with_capacity(size, count * self.experts);
        for expert in 0..self.experts {
            stack.extend(&self.expert(layer, projection, expert, &dense)?.bytes);
        }
        let mut shape = dense.shape.to_vec();
        shape.insert(0, self.experts);
        Ok(stack.into_data(shape, dense.dtype))
    }

    fn part(&self, layer: usize, name: &str, index: usize) -> Result<TensorData, WeightError> {
        match Projection::of_experts(name) {
            Some(projection) => {
                let dense = self.dense.data(&projection.dense(layer))?;
                self.expert(layer, projection, index, &dense)
            }
            None => Ok(slice(&self.data(layer, name)?, index)),
        }
    }
}
