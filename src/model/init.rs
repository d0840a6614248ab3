//! Initial weights, drawn on the host so that a seed gives the same model on every backend.
//!
//! A weight is drawn on first use, from its own random stream: a weight that is loaded first is never drawn, and no
//! weight depends on which others were drawn.

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData, f16};
use darkhorse_backends::quantized::reference::to_blocks;
use darkhorse_backends::quantized::{BLOCK, Bits};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use rayon::prelude::*;

use super::ModelConfig;
use super::linear::Linear;
use super::matrix::{Blocks, Matrix};
use super::norm::{NormWeight, RmsNorm};
use rand_chacha::rand_core::SeedableRng;

/// Declares a model's parameters one after the other; each is drawn on first use.
#[derive(Debug)]
pub struct Initializers<'a> {
    config: &'a ModelConfig,
    seed: u64,
    /// Number of random streams assigned so far.
    streams: Cell<u64>,
}

impl<'a> Initializers<'a> {
    /// Starts at the first parameter of the model that `config` describes.
    pub fn new(config: &'a ModelConfig, seed: u64) -> Self {
        Self {
            config,
            seed,
            streams: Cell::new(0),
        }
    }

    /// Configuration of the model being built.
    pub fn config(&self) -> &'a ModelConfig {
        self.config
    }

    /// A weight matrix, normal with standard deviation [`range`](Self::range).
    pub fn linear<B: Backend>(&self, inner: usize, outer: usize, device: &B::Device) -> Linear<B> {
        Linear::new(self.matrix([inner, outer], self.range(), device))
    }

    /// A weight matrix that is never quantized.
    pub fn dense_linear<B: Backend>(
        &self,
        inner: usize,
        outer: usize,
        device: &B::Device,
    ) -> Linear<B> {
        Linear::new(Matrix::Dense(self.normal(
            [inner, outer],
            self.range(),
            device,
        )))
    }

    /// A weight matrix that writes to the residual stream, normal with standard deviation
    /// [`residual_range`](Self::residual_range).
    pub fn residual_linear<B: Backend>(
        &self,
        inner: usize,
        outer: usize,
        device: &B::Device,
    ) -> Linear<B> {
        Linear::new(self.matrix([inner, outer], self.residual_range(), device))
    }

    /// Standard deviation of projections into the residual stream: [`range`](Self::range), divided by
    /// `sqrt(2 * num_hidden_layers)` if `depth_scaled_init` is set.
    pub fn residual_range(&self) -> f64 {
        let additions = 2 * self.config.num_hidden_layers;
        if self.config.depth_scaled_init {
            self.range() / (additions as f64).sqrt()
        } else {
            self.range()
        }
    }

    /// Standard deviation of projections: `initializer_range`, under µP divided by the square root of the width
    /// multiplier.
    pub fn range(&self) -> f64 {
        let multiplier = match &self.config.mup {
            Some(mup) => mup.width_multiplier(self.config.hidden_size).max(1.0),
            None => 1.0,
        };
        self.config.initializer_range / multiplier.sqrt()
    }

    /// RMSNorm with the model's epsilon and an initial factor of one.
    pub fn norm<B: Backend>(&self, width: usize, device: &B::Device) -> RmsNorm<B> {
        self.norm_with(width, self.config.rms_norm_eps, device)
    }

    /// RMSNorm with the given epsilon.
    pub fn norm_with<B: Backend>(&self, width: usize, eps: f64, device: &B::Device) -> RmsNorm<B> {
        let counted = self.config.norm_weight;
        let weight = match counted {
            NormWeight::Plain => self.ones(width, device),
            NormWeight::ZeroCentered => self.zeros(width, device),
        };
        RmsNorm::new(weight, eps).counted_from(counted)
    }

    /// A matrix or a stack of matrices, normal, in the model's quantization; unquantized if the rows are not whole
    /// blocks.
    pub fn matrix<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        deviation: f64,
        device: &B::Device,
    ) -> Matrix<B, D> {
        match self.config.quantization {
            None => Matrix::Dense(self.normal(shape, deviation, device)),
            Some(_) if !shape[D - 1].is_multiple_of(BLOCK) => {
                Matrix::Dense(self.normal(shape, deviation, device))
            }
            Some(quantization) => {
                let (stream, bits) = (self.stream(), quantization.bits());
                let blocks = move || stream.blocks(shape, normal(deviation), bits);
                Matrix::Blocks(in_blocks(blocks, shape, bits, device))
            }
        }
    }

    /// A vector of ones.
    pub fn ones<B: Backend>(&self, width: usize, device: &B::Device) -> Param<Tensor<B, 1>> {
        lazy([width], device, move |device| Tensor::ones([width], device))
    }

    /// A vector of zeros.
    pub fn zeros<B: Backend>(&self, width: usize, device: &B::Device) -> Param<Tensor<B, 1>> {
        lazy([width], device, move |device| {
            Tensor::zeros([width], device)
        })
    }

    /// A parameter with the given initial value.
    pub fn valued<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        value: impl Fn(&B::Device) -> Tensor<B, D> + Send + Sync + 'static,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        lazy(shape, device, value)
    }

    /// A parameter drawn uniformly from a range.
    pub fn uniform<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        range: Range<f64>,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        self.drawn(shape, range, |value| value, device)
    }

    /// A parameter of `map(u)`, with `u` drawn uniformly from a range.
    pub fn drawn<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        range: Range<f64>,
        map: impl Fn(f64) -> f64 + Send + Sync + 'static,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        let even =
            Uniform::new(range.start, range.end).expect("a range has a beginning and an end");
        self.sampled(shape, move |rng| map(even.sample(rng)) as f32, device)
    }

    /// A parameter drawn from a normal distribution with mean zero.
    pub fn normal<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        deviation: f64,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        self.sampled(shape, normal(deviation), device)
    }

    fn sampled<B: Backend, const D: usize>(
        &self,
        shape: [usize; D],
        draw: impl Fn(&mut ChaCha8Rng) -> f32 + Send + Sync + 'static,
        device: &B::Device,
    ) -> Param<Tensor<B, D>> {
        let stream = self.stream();
        lazy(shape, device, move |device| {
            let values = stream.draw(shape.iter().product(), &draw);
            Tensor::from_data(TensorData::new(values, shape), device)
        })
    }

    /// Assigns the random stream of the next parameter.
    fn stream(&self) -> Stream {
        let number = self.streams.get();
        self.streams.set(number + 1);
        Stream {
            seed: self.seed,
            number,
        }
    }
}

/// Number of values drawn from one generator, a multiple of the block length.
const PIECE: usize = 1 << 20;

/// Random stream of one parameter.
#[derive(Debug, Clone, Copy)]
struct Stream {
    seed: u64,
    number: u64,
}

impl Stream {
    fn draw(self, count: usize, draw: impl Fn(&mut ChaCha8Rng) -> f32 + Sync) -> Vec<f32> {
        let mut values = vec![0.0; count];
        let pieces = values.par_chunks_mut(PIECE).enumerate();
        pieces.for_each(|(piece, values)| {
            let mut rng = self.piece(piece);
            values.fill_with(|| draw(&mut rng));
        });
        values
    }

    /// Draws the values of [`draw`](Self::draw) and quantizes them piece by piece; returns words and scales.
    fn blocks<const D: usize>(
        self,
        mut shape: [usize; D],
        draw: impl Fn(&mut ChaCha8Rng) -> f32 + Sync,
        bits: Bits,
    ) -> [TensorData; 2] {
        let count: usize = shape.iter().product();
        let (per_block, width) = (bits.words_per_block(), shape[D - 1]);
        let mut words = vec![0_i32; count / BLOCK * per_block];
        let mut scales = vec![f16::ZERO; count / BLOCK];
        let pieces = words
            .par_chunks_mut(PIECE / BLOCK * per_block)
            .zip(scales.par_chunks_mut(PIECE / BLOCK))
            .enumerate();
        pieces.for_each(|(piece, (words, scales))| {
            let mut rng = self.piece(piece);
            let numbers: Vec<f32> = (0..scales.len() * BLOCK).map(|_| draw(&mut rng)).collect();
            let blocks = to_blocks(&numbers, [numbers.len()], bits, DType::F16);
            let [of_words, of_scales] = blocks.expect("a piece is made of whole blocks");
            words.copy_from_slice(of_words.as_slice().expect("words are i32"));
            scales.copy_from_slice(of_scales.as_slice().expect("scales are f16"));
        });
        shape[D - 1] = width / BLOCK * per_block;
        let words = TensorData::new(words, shape);
        shape[D - 1] = width / BLOCK;
        [words, TensorData::new(scales, shape)]
    }

    /// Generator of one piece. Pieces are drawn in parallel, with the same values for any number of threads.
    fn piece(self, piece: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.number | (piece as u64) << 32);
        rng
    }
}

/// Sampler of a normal distribution with mean zero.
fn normal(deviation: f64) -> impl Fn(&mut ChaCha8Rng) -> f32 + Copy + Send + Sync + 'static {
    move |rng| {
        let unit: f32 = StandardNormal.sample(rng);
        unit * deviation as f32
    }
}

/// A matrix that is drawn and quantized on first use.
fn in_blocks<B: Backend, const D: usize>(
    blocks: impl Fn() -> [TensorData; 2] + Clone + Send + Sync + 'static,
    shape: [usize; D],
    bits: Bits,
    device: &B::Device,
) -> Blocks<B, D> {
    // Drawn once for both parts: the first use stores the other part here.
    let left: Arc<Mutex<[Option<TensorData>; 2]>> = Arc::default();
    let part = move |index: usize| {
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        if left[index].is_none() {
            *left = blocks().map(Some);
        }
        left[index].take().expect("it was just made")
    };
    let packed = |width: usize| {
        let mut packed = shape;
        packed[D - 1] = shape[D - 1] / BLOCK * width;
        packed
    };
    let words = part.clone();
    let values = Param::uninitialized(
        ParamId::new(),
        move |device, _| Tensor::from_data(words(0), (device, DType::I32)),
        device.clone(),
        false,
        packed(bits.words_per_block()).into(),
    );
    let scales = lazy(packed(1), device, move |device| {
        Tensor::from_data(part(1), (device, DType::F16))
    });
    Blocks::new(values, scales, bits)
}

/// A trainable parameter whose initial value is computed on first use.
pub(super) fn lazy<B: Backend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
    value: impl Fn(&B::Device) -> Tensor<B, D> + Send + Sync + 'static,
) -> Param<Tensor<B, D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| value(device).set_require_grad(require_grad),
        device.clone(),
        true,
        shape.into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TAGS;
    use crate::model::CausalLm;
    use crate::model::feed_forward::FeedForward;
    use crate::model::matrix::Matrix;
    use burn::backend::Autodiff;
    use burn::module::{Module, ModuleVisitor};
    use darkhorse_backends::select::Selected;

    type B = Autodiff<Selected>;

    #[derive(Default)]
    struct Seen {
        drawn: usize,
        lazy: Vec<Vec<usize>>,
    }

    impl ModuleVisitor<B> for Seen {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if param.is_initialized() {
                self.drawn += param.lazy_shape().num_elements()
            } else {
                self.lazy.push(param.lazy_shape().to_vec())
            }
        }
    }

    /// A model of 1.5 terabytes.
    fn huge() -> ModelConfig {
        let json = r#"{
            "vocab_size": 200000, "hidden_size": 8192, "num_hidden_layers": 64,
            "intermediate_size": 28672, "first_k_dense_replace": 1, "max_position_embeddings": 64,
            "mixer": {"gqa": {
                "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
                "attention_bias": true
            }},
            "layer_types": ["gqa"], "mlp_bias": true, "rope": {},
            "moe": {
                "n_routed_experts": 64, "num_experts_per_tok": 2, "moe_intermediate_size": 4096
            }
        }"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn building_draws_no_weight() {
        let config = huge();
        config.validate().unwrap();
        let model = CausalLm::<B>::init(&config, 0, &Default::default());
        let mut seen = Seen::default();
        model.visit(&mut seen);
        // the domain prior is not a weight
        assert_eq!(seen.drawn, TAGS * 64);
        assert!(seen.lazy.contains(&vec![200_000, 8192]));
        let biases = seen.lazy.iter().filter(|shape| **shape == [28_672]);
        assert_eq!(biases.count(), 2);
    }

    #[test]
    fn a_weight_does_not_depend_on_which_others_were_drawn() {
        let config = huge();
        let device = Default::default();
        let [first, second] = [(); 2].map(|()| {
            let init = Initializers::new(&config, 7);
            [1, 2, 3].map(|_| init.normal::<B, 2>([4, 5], 0.02, &device))
        });
        let values = |param: &Param<Tensor<B, 2>>| param.val().into_data();
        let forth = first.each_ref().map(values);
        assert_eq!(values(&second[2]), forth[2]);
        assert_ne!(forth[0], forth[1]);
        let other = Initializers::new(&config, 8).normal::<B, 2>([4, 5], 0.02, &device);
        assert_ne!(values(&other), forth[0]);
    }

    #[test]
    fn experts_are_drawn_as_wide_as_dense_projections_under_mup() {
        let mut config = huge();
        config.hidden_size = 128;
        config.num_hidden_layers = 2;
        let moe = config.moe.as_mut().unwrap();
        moe.n_routed_experts = 4;
        moe.moe_intermediate_size = 64;
        let mup = serde_json::json!({ "base_width": 32 });
        config.mup = serde_json::from_value(mup).unwrap();
        let model = CausalLm::<B>::init(&config, 0, &Default::default());
        let FeedForward::Moe(moe) = &model.layers[1].feed_forward else {
            panic!("layer 1 routes");
        };
        for projection in [&moe.experts.gate_proj, &moe.experts.up_proj] {
            let Matrix::Dense(weight) = projection else {
                panic!("a new model has no blocks");
            };
            let deviation: f32 = weight.val().var(2).mean().sqrt().into_scalar();
            let ratio = f64::from(deviation) / (config.initializer_range / 2.0);
            assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
        }
    }

    #[test]
    fn a_drawn_weight_requires_a_gradient_unless_told_otherwise() {
        let config = huge();
        let init = Initializers::new(&config, 0);
        let device = Default::default();
        assert!(init.normal::<B, 1>([3], 1.0, &device).is_require_grad());
        assert!(init.norm::<B>(3, &device).weight.is_require_grad());
        let frozen = init
            .normal::<B, 1>([3], 1.0, &device)
            .set_require_grad(false);
        assert!(!frozen.is_require_grad());
    }
}
