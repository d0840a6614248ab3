//! The dense feed-forward of one layer, and the contributions of parts of it.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use super::partition::Partition;
use crate::model::feed_forward::swiglu::SwiGlu;

/// Weights of a SwiGLU without biases.
#[derive(Debug, Clone)]
pub(super) struct DenseLayer<B: Ops> {
    /// `[hidden_size, width]`.
    pub(super) gate: Tensor<B, 2>,
    /// `[hidden_size, width]`.
    pub(super) up: Tensor<B, 2>,
    /// `[width, hidden_size]`.
    pub(super) down: Tensor<B, 2>,
}

impl<B: Ops> DenseLayer<B> {
    /// The weights of a feed-forward that is not quantized. Copies nothing.
    pub(super) fn of(swiglu: &SwiGlu<B>) -> Self {
        Self {
            gate: swiglu.gate_proj.weight.val(),
            up: swiglu.up_proj.weight.val(),
            down: swiglu.down_proj.weight.val(),
        }
    }

    /// Width of the residual stream, and number of neurons.
    pub(super) fn dims(&self) -> [usize; 2] {
        self.gate.dims()
    }

    /// Activations of all neurons, `silu(x G) * (x U)`, `[tokens, width]`.
    pub(super) fn activations(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        let gate = B::project_saving(inputs.clone(), self.gate.clone());
        B::swiglu(gate, B::project_saving(inputs, self.up.clone()))
    }

    /// Output of the layer, `[tokens, hidden_size]`.
    pub(super) fn output(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        B::project_saving(self.activations(inputs), self.down.clone())
    }

    /// Lengths of the rows of the down projection, `[width]`.
    pub(super) fn sizes(&self) -> Vec<f32> {
        let squares = self.down.clone().powi_scalar(2).sum_dim(1);
        squares.sqrt().into_data().iter().collect()
    }

    /// The layer with only some of its neurons, in their order.
    pub(super) fn part(&self, neurons: &[usize]) -> Self {
        let neurons = indices(neurons, &self.gate.device());
        Self {
            gate: self.gate.clone().select(1, neurons.clone()),
            up: self.up.clone().select(1, neurons.clone()),
            down: self.down.clone().select(0, neurons),
        }
    }
}

/// Numbers of neurons as a tensor.
fn indices<B: Ops>(neurons: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let numbers: Vec<i32> = neurons.iter().map(|&neuron| neuron as i32).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

/// The routed experts of a partition, for the size of their outputs.
///
/// `||h_e D_e||^2 = h_e (D_e D_e^T) h_e^T`: with the product of an expert's down projection with itself, which is
/// narrower than the residual stream, the outputs themselves are not needed.
#[derive(Debug)]
pub(super) struct Contributions<B: Ops> {
    /// The neurons of all routed experts, expert by expert.
    flat: DenseLayer<B>,
    /// `D_e D_e^T`, `[neurons, neurons]`, of each expert.
    grams: Vec<Tensor<B, 2>>,
}

impl<B: Ops> Contributions<B> {
    pub(super) fn new(dense: &DenseLayer<B>, partition: &Partition) -> Self {
        let flat = dense.part(&partition.routed_neurons());
        let mut first = 0;
        let gram = |expert: &Vec<usize>| {
            let down = flat.down.clone().narrow(0, first, expert.len());
            first += expert.len();
            B::project_saving(down.clone(), down.transpose())
        };
        Self {
            grams: partition.routed.iter().map(gram).collect(),
            flat,
        }
    }

    /// `||FFN_e(x)||` of every token and routed expert, `[tokens, experts]`.
    pub(super) fn of(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        let activations = self.flat.activations(inputs);
        let mut first = 0;
        let size = |gram: &Tensor<B, 2>| {
            let [width, _] = gram.dims();
            let own = activations.clone().narrow(1, first, width);
            first += width;
            let squares = B::project_saving(own.clone(), gram.clone()) * own;
            // a sum of squares that rounding may take below zero
            squares.sum_dim(1).clamp_min(0.0).sqrt()
        };
        Tensor::cat(self.grams.iter().map(size).collect(), 1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use burn::tensor::Distribution;
    use darkhorse_backends::select::Selected;

    use super::*;

    type B = Selected;

    pub(in crate::surgery::carve) fn layer(hidden: usize, width: usize) -> DenseLayer<B> {
        let device = Default::default();
        let values = |rows: usize, columns: usize, seed: usize| {
            let value = |at: usize| ((at * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
            let values: Vec<f32> = (0..rows * columns).map(value).collect();
            Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        DenseLayer {
            gate: values(hidden, width, 1),
            up: values(hidden, width, 2),
            down: values(width, hidden, 3),
        }
    }

    #[test]
    fn a_contribution_is_the_length_of_the_experts_output() {
        let dense = layer(6, 12);
        let partition = Partition {
            shared: vec![0, 5, 7],
            routed: vec![vec![1, 2, 11], vec![3, 4, 10], vec![6, 8, 9]],
        };
        let inputs = Tensor::<B, 2>::random([9, 6], Distribution::Default, &Default::default());
        let found = Contributions::new(&dense, &partition).of(inputs.clone());
        assert_eq!(found.dims(), [9, 3]);
        let found: Vec<f32> = found.into_data().iter().collect();
        for (expert, neurons) in partition.routed.iter().enumerate() {
            let output = dense.part(neurons).output(inputs.clone());
            let sizes = output.powi_scalar(2).sum_dim(1).sqrt().into_data();
            for (token, expected) in sizes.iter::<f32>().enumerate() {
                let found = found[token * 3 + expert];
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn parts_that_are_a_partition_sum_to_the_whole() {
        let dense = layer(6, 12);
        let inputs = Tensor::<B, 2>::random([9, 6], Distribution::Default, &Default::default());
        let whole = dense.output(inputs.clone());
        let parts = dense.part(&[0, 3, 11, 4]).output(inputs.clone())
            + dense.part(&[1, 2, 5, 6, 7, 8, 9, 10]).output(inputs);
        let difference = (whole - parts).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }
}
