//! Linear layer: a weight matrix with an optional bias, computed by the backend's [`Ops::project`].

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::init::lazy;
use super::matrix::Matrix;

/// Whether a linear layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// `x W`.
    Absent,
    /// `x W + b`, with `b` initially zero.
    Zero,
}

impl Bias {
    /// [`Bias::Zero`] if `configured`, else [`Bias::Absent`].
    pub fn when(configured: bool) -> Self {
        if configured { Self::Zero } else { Self::Absent }
    }
}

/// Linear layer `x W`, or `x W + b`. Built by [`Initializers`](super::init::Initializers).
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// Weight, `[in, out]`.
    pub weight: Matrix<B, 2>,
    /// Bias, `[out]`; absent in most models.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Linear<B> {
    pub(super) fn new(weight: Matrix<B, 2>) -> Self {
        Self { weight, bias: None }
    }

    /// Adds a zero bias, or removes the bias.
    pub fn with(self, bias: Bias) -> Self {
        let bias = match bias {
            Bias::Absent => None,
            Bias::Zero => {
                let [_, outer] = self.weight.dims();
                let device = self.weight.device();
                Some(lazy([outer], &device, move |device| {
                    Tensor::zeros([outer], device)
                }))
            }
        };
        Self { bias, ..self }
    }
}

impl<B: Ops> Linear<B> {
    /// Applies the layer to the last dimension.
    ///
    /// # Shapes
    ///
    /// - input: `[.., in]`, output: `[.., out]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let dims = input.dims();
        let rows = rows_of(input);
        let product = self.weight.base().project(rows.clone());
        self.finish(self.weight.updated(product, &rows), dims)
    }

    /// [`forward`](Self::forward) of several layers on one input, in one operation.
    pub fn forward_each<const D: usize, const N: usize>(
        projections: [&Self; N],
        input: Tensor<B, D>,
    ) -> [Tensor<B, D>; N] {
        let dims = input.dims();
        let rows = rows_of(input);
        let weights = projections.map(|projection| projection.weight.base());
        let mut products = B::project_each(rows.clone(), weights.into()).into_iter();
        projections.map(|projection| {
            let product = products.next().expect("there is one for every weight");
            projection.finish(projection.weight.updated(product, &rows), dims)
        })
    }

    /// Adds the bias and restores the leading dimensions of the input.
    fn finish<const D: usize>(&self, product: Tensor<B, 2>, mut dims: [usize; D]) -> Tensor<B, D> {
        let [_, outer] = product.dims();
        let output = match &self.bias {
            Some(bias) => product + bias.val().unsqueeze(),
            None => product,
        };
        dims[D - 1] = outer;
        output.reshape(dims)
    }
}

/// Flattens all dimensions but the last.
fn rows_of<B: Backend, const D: usize>(input: Tensor<B, D>) -> Tensor<B, 2> {
    let dims = input.dims();
    let rows = dims[..D - 1].iter().product::<usize>();
    input.reshape([rows, dims[D - 1]])
}
