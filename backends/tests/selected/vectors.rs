//! Products with vectors in any memory layout, followed by operations that may be fused.

use burn::tensor::Tensor;
use darkhorse_backends::product::Times;

use super::{Trained, floats, values};

/// Memory layout of a matrix.
#[derive(Clone, Copy)]
enum Layout {
    Plain,
    Transposed,
    HeadsSwapped,
    HeadsSwappedAndTransposed,
    Narrowed,
}

const LAYOUTS: [Layout; 5] = [
    Layout::Plain,
    Layout::Transposed,
    Layout::HeadsSwapped,
    Layout::HeadsSwappedAndTransposed,
    Layout::Narrowed,
];

/// A tensor of shape `[2, 3, rows, columns]` in a memory layout.
fn matrix<B: Trained>(rows: usize, columns: usize, layout: Layout, seed: u32) -> Tensor<B, 4> {
    match layout {
        Layout::Plain => floats([2, 3, rows, columns], seed),
        Layout::Transposed => floats::<B, 4>([2, 3, columns, rows], seed).swap_dims(2, 3),
        Layout::HeadsSwapped => floats::<B, 4>([2, rows, 3, columns], seed).swap_dims(1, 2),
        Layout::HeadsSwappedAndTransposed => {
            let matrix = floats::<B, 4>([2, columns, 3, rows], seed);
            matrix.swap_dims(1, 2).swap_dims(2, 3)
        }
        Layout::Narrowed => floats::<B, 4>([2, 3, rows + 3, columns], seed).narrow(2, 1, rows),
    }
}

pub(super) fn products_with_vectors<B: Trained>() -> Vec<Vec<f32>> {
    let shapes = [[1, 6, 8], [6, 8, 1], [1, 8, 1], [8, 1, 6], [1, 1, 6]];
    let mut all = Vec::new();
    for ([rows, inner, columns], (left, right)) in shapes
        .into_iter()
        .flat_map(|shape| LAYOUTS.map(|left| LAYOUTS.map(|right| (shape, (left, right)))))
        .flatten()
    {
        let product = matrix::<B>(rows, inner, left, 1).times(matrix(inner, columns, right, 2));
        all.push(values(product.clone()));
        all.push(values((product.mul_scalar(0.5) + 1.0).exp()));
    }
    all
}
