//! Rotary position embedding on halves, in burn's operations.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// See [`Ops::rope_halves`](crate::Ops::rope_halves).
pub fn rope_halves<B: Backend>(
    input: Tensor<B, 4>,
    cos: Tensor<B, 3>,
    sin: Tensor<B, 3>,
) -> Tensor<B, 4> {
    let [_, _, _, width] = input.dims();
    let [_, _, half] = cos.dims();
    let (cos, sin) = (cos.unsqueeze_dim::<4>(2), sin.unsqueeze_dim::<4>(2));
    let left = input.clone().narrow(3, 0, half);
    let right = input.clone().narrow(3, half, half);
    let mut parts = vec![
        left.clone() * cos.clone() - right.clone() * sin.clone(),
        right * cos + left * sin,
    ];
    if width > 2 * half {
        parts.push(input.narrow(3, 2 * half, width - 2 * half));
    }
    Tensor::cat(parts, 3)
}
