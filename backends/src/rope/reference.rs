//! Reference implementation.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// See [`Ops::rope`](crate::Ops::rope).
pub fn rope<B: Backend>(input: Tensor<B, 4>, cos: Tensor<B, 3>, sin: Tensor<B, 3>) -> Tensor<B, 4> {
    let [batch, seq, heads, dim] = input.dims();
    let pairs = input.reshape([batch, seq, heads, dim / 2, 2]);
    let even = pairs.clone().narrow(4, 0, 1);
    let odd = pairs.narrow(4, 1, 1);
    let cos = cos.reshape([batch, seq, 1, dim / 2, 1]);
    let sin = sin.reshape([batch, seq, 1, dim / 2, 1]);

    let rotated_even = even.clone() * cos.clone() - odd.clone() * sin.clone();
    let rotated_odd = odd * cos + even * sin;
    Tensor::cat(vec![rotated_even, rotated_odd], 4).reshape([batch, seq, heads, dim])
}
