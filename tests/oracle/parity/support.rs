//! Inputs of operations, and the comparison of their results.

use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Int, Tensor, TensorData};

/// Backend of the definitions and of the CPU implementations.
pub(crate) type Flex = Autodiff<burn_flex::Flex>;
/// Backend of the default implementations.
pub(crate) type NdArray = Autodiff<burn_ndarray::NdArray>;

/// Tolerance for results of [`NdArray`], whose reciprocals are approximations.
pub(crate) const ROUGHLY: f32 = 5e-5;

/// Pseudorandom numbers between -1 and 1.
pub(crate) fn noise<const D: usize>(seed: u64, shape: [usize; D]) -> TensorData {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect();
    TensorData::new(values, shape)
}

/// Pseudorandom whole numbers below `bound`.
pub(crate) fn draws(seed: u64, count: usize, bound: usize) -> Vec<i64> {
    let noise = noise(seed, [count]);
    let draw = |value: f32| (((value + 1.0) / 2.0 * bound as f32) as i64).min(bound as i64 - 1);
    noise.iter::<f32>().map(draw).collect()
}

/// A leaf of the autodiff graph.
pub(crate) fn leaf<B: AutodiffBackend, const D: usize>(data: &TensorData) -> Tensor<B, D> {
    Tensor::from_data(data.clone(), &Default::default()).require_grad()
}

pub(crate) fn constant<B: Backend, const D: usize>(data: &TensorData) -> Tensor<B, D> {
    Tensor::from_data(data.clone(), &Default::default())
}

pub(crate) fn integers<B: Backend, const D: usize>(
    values: &[i64],
    shape: [usize; D],
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Default::default())
}

/// An output and gradients by name.
pub(crate) struct Outcome(pub(crate) Vec<(&'static str, TensorData)>);

/// Gradients of `sum(output * cotangent)`, collected by name.
pub(crate) struct Differentiated<B: AutodiffBackend> {
    grads: B::Gradients,
    outcome: Vec<(&'static str, TensorData)>,
}

impl<B: AutodiffBackend> Differentiated<B> {
    pub(crate) fn new<const D: usize>(output: Tensor<B, D>) -> Self {
        let outcome = vec![(
            "output",
            output.clone().into_data().convert_dtype(DType::F32),
        )];
        let cotangent = constant(&noise(99, output.dims()));
        let grads = (output.cast(DType::F32) * cotangent).sum().backward();
        Self { grads, outcome }
    }

    pub(crate) fn gradient<const D: usize>(
        mut self,
        name: &'static str,
        of: &Tensor<B, D>,
    ) -> Self {
        let grad = of.grad(&self.grads).expect(name);
        self.outcome
            .push((name, grad.into_data().convert_dtype(DType::F32)));
        self
    }

    pub(crate) fn outcome(self) -> Outcome {
        Outcome(self.outcome)
    }
}

/// # Panics
///
/// When an element differs by more than `tolerance`, relative to one or to itself.
pub(crate) fn assert_close(case: &str, got: &Outcome, expected: &Outcome, tolerance: f32) {
    assert_eq!(got.0.len(), expected.0.len());
    for ((name, got), (_, expected)) in got.0.iter().zip(&expected.0) {
        assert_eq!(got.shape, expected.shape, "{case}: shape of {name}");
        for (at, (got, expected)) in got.iter::<f32>().zip(expected.iter::<f32>()).enumerate() {
            let allowed = tolerance * expected.abs().max(1.0);
            assert!(
                (got - expected).abs() <= allowed,
                "{case}: {name}[{at}] is {got}, expected {expected}"
            );
        }
    }
}
