//! Reference implementation.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::UnitEps;

/// See [`Ops::unit_rows`](crate::Ops::unit_rows).
pub fn unit_rows<B: Backend>(input: Tensor<B, 2>, eps: UnitEps) -> Tensor<B, 2> {
    let square = input.clone().square().sum_dim(1);
    match eps {
        // the tiny number keeps the gradient at zero finite
        UnitEps::Length(eps) => input / square.add_scalar(1e-24).sqrt().add_scalar(eps),
        UnitEps::Square(eps) => input / square.add_scalar(eps).sqrt(),
    }
}

/// See [`Ops::unit_rows_backward`](crate::Ops::unit_rows_backward).
///
/// With `y = x / d`: `dx = dy / d - x (x . dy) / c`, where `c` is `d^3`, or `d^2 |x|` for
/// [`UnitEps::Length`].
pub fn unit_rows_backward<B: Backend>(
    input: Tensor<B, 2>,
    eps: UnitEps,
    grad: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let square = input.clone().square().sum_dim(1);
    let along = (input.clone() * grad.clone()).sum_dim(1);
    let (divisor, length) = match eps {
        UnitEps::Length(eps) => {
            let length = square.add_scalar(1e-24).sqrt();
            (length.clone().add_scalar(eps), length)
        }
        UnitEps::Square(eps) => {
            let divisor = square.add_scalar(eps).sqrt();
            (divisor.clone(), divisor)
        }
    };
    let curve = divisor.clone().square() * length;
    grad / divisor - input * (along / curve)
}
