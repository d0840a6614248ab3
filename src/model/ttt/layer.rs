//! Test-time training layer, whose fast weights learn from the sequence that it reads.

use burn::module::{Module, Param};
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::product::Times;

use super::config::{TttConfig, TttMode, TttViews};
use crate::model::init::Initializers;
use crate::model::linear::Linear;

/// Epsilon of the layer norm, added to the variance.
const LAYER_NORM_EPS: f64 = 1e-5;

/// Layer normalization over the last dimension, with weight and bias.
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// Weight, `[width]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Bias, `[width]`.
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> LayerNorm<B> {
    /// Normalizes every token, `[batch, seq, width]`.
    pub fn forward(&self, input: Tensor<B, 3>) -> Tensor<B, 3> {
        let centered = input.clone() - input.mean_dim(2);
        let variance = centered.clone().square().mean_dim(2);
        let normalized = centered / variance.add_scalar(LAYER_NORM_EPS).sqrt();
        normalized * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}

/// Test-time training layer in the form of Genesis-152M.
#[derive(Module, Debug)]
pub struct TttLayer<B: Backend> {
    /// Slow weights `W0`, `[hidden_size, hidden_size]`.
    pub w0: Param<Tensor<B, 2>>,
    /// First factor `A` of their low-rank correction, `[hidden_size, rank]`.
    pub a_init: Param<Tensor<B, 2>>,
    /// Second factor `B`, `[rank, hidden_size]`.
    pub b_init: Param<Tensor<B, 2>>,
    /// Logarithm of the inner learning rate, `[hidden_size]`.
    pub log_lr: Param<Tensor<B, 1>>,
    /// Query projection; unused by [`TttMode::Dual`] with [`TttViews::Shared`].
    pub q_proj: Linear<B>,
    /// Key projection; used only by [`TttMode::Dual`] with [`TttViews::Projected`].
    pub k_proj: Linear<B>,
    /// Value projection; used only by [`TttMode::Dual`] with [`TttViews::Projected`].
    pub v_proj: Linear<B>,
    /// Output projection, back to the residual stream.
    pub out_proj: Linear<B>,
    /// Projection to the output gate.
    pub output_gate: Linear<B>,
    /// Normalizes the input of the fast weights.
    pub norm: LayerNorm<B>,
    /// Factor on the residual update, `[hidden_size]`.
    pub layer_scale: Param<Tensor<B, 1>>,
    #[module(skip)]
    config: TttConfig,
}

impl<B: Backend> TttLayer<B> {
    pub(super) fn init(config: &TttConfig, init: &Initializers<'_>, device: &B::Device) -> Self {
        let hidden = init.config().hidden_size;
        let square = || init.linear(hidden, hidden, device);
        Self {
            w0: init.valued(
                [hidden, hidden],
                move |device| Tensor::eye(hidden, device).mul_scalar(0.1),
                device,
            ),
            a_init: init.normal([hidden, config.rank], 0.01, device),
            b_init: init.valued(
                [config.rank, hidden],
                {
                    let shape = [config.rank, hidden];
                    move |device| Tensor::zeros(shape, device)
                },
                device,
            ),
            log_lr: init.valued(
                [hidden],
                {
                    let log = config.inner_lr.ln();
                    move |device| Tensor::full([hidden], log, device)
                },
                device,
            ),
            q_proj: square(),
            k_proj: square(),
            v_proj: square(),
            out_proj: square(),
            output_gate: square(),
            norm: LayerNorm {
                weight: init.ones(hidden, device),
                bias: init.zeros(hidden, device),
            },
            layer_scale: init.valued(
                [hidden],
                move |device| Tensor::full([hidden], 1e-4, device),
                device,
            ),
            config: config.clone(),
        }
    }
}

/// Output of the fast weights, before gate and output projection.
#[derive(Debug, Clone)]
pub struct Inner<B: Backend> {
    /// Read values, `[batch, seq, hidden_size]`.
    pub output: Tensor<B, 3>,
    /// Mean squared error of the inner task, `[1]`: of the slow weights in [`TttMode::Dual`], of each mini-batch's
    /// current weights in [`TttMode::MiniBatch`].
    pub loss: Tensor<B, 1>,
}

impl<B: Ops> TttLayer<B> {
    /// `x + layer_scale * out_proj(y * sigmoid(output_gate(x)))`, where `y` is the output of the fast weights; also
    /// returns the inner loss.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, seq, hidden_size]`
    pub fn forward(&self, input: Tensor<B, 3>) -> Inner<B> {
        let inner = self.inner(self.norm.forward(input.clone()));
        let gate = sigmoid(self.output_gate.forward(input.clone()));
        let update = self.out_proj.forward(inner.output * gate);
        Inner {
            output: input + update * self.layer_scale.val().unsqueeze(),
            loss: inner.loss,
        }
    }

    /// Applies the fast weights to normalized tokens.
    pub fn inner(&self, normalized: Tensor<B, 3>) -> Inner<B> {
        match self.config.mode {
            TttMode::Dual => self.dual(normalized),
            TttMode::MiniBatch { tokens } => self.mini_batches(normalized, tokens),
        }
    }

    /// Applies the corrected slow weights, `x W0 + x A B`.
    fn slow(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, seq, width] = tokens.dims();
        let rows = tokens.reshape([batch * seq, width]);
        let low = B::project(rows.clone(), self.a_init.val());
        let output = B::project(rows, self.w0.val()) + B::project(low, self.b_init.val());
        output.reshape([batch, seq, width])
    }

    /// Closed form of per-channel learning, `y_t = y0_t - q_t lr G_t / (1 + ln(t + 1) / 10)` with
    /// `G_t = sum_{i < t} k_i (y0_i - v_i)`, where `y0` is the output of the slow weights for the keys.
    fn dual(&self, tokens: Tensor<B, 3>) -> Inner<B> {
        let [_, seq, _] = tokens.dims();
        let (query, key, value) = match self.config.views {
            TttViews::Shared => (tokens.clone(), tokens.clone(), tokens),
            TttViews::Projected => (
                self.q_proj.forward(tokens.clone()),
                self.k_proj.forward(tokens.clone()),
                self.v_proj.forward(tokens),
            ),
        };
        let read = self.slow(key.clone());
        let error = (read.clone() - value).cast(DType::F32);
        let loss = error.clone().square().mean();
        let gradient = key.cast(DType::F32) * error;
        let before = gradient.clone().cumsum(1) - gradient;
        let rate = self.log_lr.val().cast(DType::F32).exp();
        let rate = rate.clamp_max(self.config.inner_lr).unsqueeze::<3>();
        let slower: Vec<f32> = (1..=seq)
            .map(|t| 1.0 + 0.1 * (t as f64).ln() as f32)
            .collect();
        let slower = Tensor::from_data(TensorData::new(slower, [1, seq, 1]), &before.device());
        let learned = query * (before * rate / slower).cast(read.dtype());
        Inner {
            output: read - learned,
            loss,
        }
    }

    /// Learns a weight matrix by one gradient step per mini-batch, to reconstruct queries of which every third
    /// channel is masked.
    fn mini_batches(&self, tokens: Tensor<B, 3>, size: usize) -> Inner<B> {
        let [batch, seq, width] = tokens.dims();
        let query = self.q_proj.forward(tokens);
        let seen: Vec<f32> = (0..width).map(|at| f32::from(at % 3 != 0)).collect();
        let seen = Tensor::<B, 3>::from_data(TensorData::new(seen, [1, 1, width]), &query.device());
        let rate = self.log_lr.val().exp().reshape([1, width, 1]);
        let slow = self.w0.val() + B::project(self.a_init.val(), self.b_init.val());
        let mut weights = slow.unsqueeze::<3>().expand([batch, width, width]);
        let (mut outputs, mut losses) = (Vec::new(), Vec::new());
        for start in (0..seq).step_by(size) {
            let len = size.min(seq - start);
            let query = query.clone().narrow(1, start, len);
            let corrupted = query.clone() * seen.clone();
            let error = corrupted.clone().times(weights.clone()) - query.clone();
            losses.push(error.clone().square().mean());
            let gradient = corrupted
                .swap_dims(1, 2)
                .times(error)
                .div_scalar(len as f64);
            weights = weights - gradient * rate.clone();
            outputs.push(query.times(weights.clone()));
        }
        Inner {
            output: Tensor::cat(outputs, 1),
            loss: Tensor::cat(losses, 0).mean(),
        }
    }
}
