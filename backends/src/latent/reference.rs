//! Reference implementation.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::product::Times;
use crate::weight::Weight;

/// See [`Ops::absorb_query`](crate::Ops::absorb_query).
pub fn absorb_query<B: Backend>(query: Tensor<B, 3>, weight: Weight<B, 2>) -> Tensor<B, 3> {
    let [_, heads, nope] = query.dims();
    let keys = by_head(weight.numbers().cast(query.dtype()), heads).narrow(2, 0, nope);
    let product = query.swap_dims(0, 1).times(keys.swap_dims(1, 2));
    product.swap_dims(0, 1)
}

/// See [`Ops::expand_value`](crate::Ops::expand_value).
pub fn expand_value<B: Backend>(
    latent: Tensor<B, 3>,
    weight: Weight<B, 2>,
    value_dim: usize,
) -> Tensor<B, 3> {
    let [_, heads, _] = latent.dims();
    let folded = by_head(weight.numbers().cast(latent.dtype()), heads);
    let [_, _, width] = folded.dims();
    let values = folded.narrow(2, width - value_dim, value_dim);
    latent.swap_dims(0, 1).times(values).swap_dims(0, 1)
}

/// Columns of the weight by head, `[heads, rank, nope + value]`.
pub fn by_head<B: Backend>(weight: Tensor<B, 2>, heads: usize) -> Tensor<B, 3> {
    let [rank, width] = weight.dims();
    weight.reshape([rank, heads, width / heads]).swap_dims(0, 1)
}
