//! RMSNorm in one pass over every row, rows in parallel.

use burn::tensor::Tensor;
use burn_flex::Flex;

use crate::flex::fresh::new_rows;
use crate::flex::matrix::MatRef;
use crate::flex::rows::{View, rows_per_task, tensor};
use crate::flex::simd::{dot, kernel, sum};
use crate::flex::team;

/// See [`Ops::rms_norm`](crate::Ops::rms_norm).
pub(crate) fn rms_norm(
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 1>,
    eps: f64,
) -> Tensor<Flex, 2> {
    let [tokens, width] = input.dims();
    let (input, weight) = (View::rows(input), View::rows(weight));
    let (x, w) = (input.matrix(), weight.slice());
    let [out] = new_rows(tokens, [width], |first, [out]| {
        normalize(out, x, first, w, eps as f32);
    });
    tensor(out, [tokens, width])
}

/// See [`Ops::rms_norm_backward`](crate::Ops::rms_norm_backward).
pub(crate) fn rms_norm_backward(
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 1>,
    eps: f64,
    grad: Tensor<Flex, 2>,
) -> (Tensor<Flex, 2>, Tensor<Flex, 1>) {
    let [tokens, width] = input.dims();
    let (input, weight, grad) = (View::rows(input), View::rows(weight), View::rows(grad));
    let (x, w, dy) = (input.matrix(), weight.slice(), grad.matrix());

    let rows = rows_per_task(width);
    let mut dx = vec![0.0; tokens * width];
    // Each task has its own sum; the sums are then added in order.
    let mut partial = vec![0.0; tokens.div_ceil(rows) * width];
    if width > 0 {
        let tasks = dx
            .chunks_mut(rows * width)
            .zip(partial.chunks_mut(width))
            .enumerate()
            .collect();
        team::each(
            tasks,
            || (),
            |(), (task, (dx, dw)): (usize, (&mut [f32], &mut [f32]))| {
                normalize_backward(dx, dw, x, dy, task * rows, w, eps as f32);
            },
        );
    }
    let mut dw = vec![0.0; width];
    for partial in partial.chunks_exact(width.max(1)) {
        for (sum, term) in dw.iter_mut().zip(partial) {
            *sum += term;
        }
    }
    (tensor(dx, [tokens, width]), tensor(dw, [width]))
}

kernel! {
    fn normalize<'a>(out: &'a mut [f32], x: MatRef<'a>, first: usize, w: &'a [f32], eps: f32) {
        for (row, out) in out.chunks_exact_mut(w.len()).enumerate() {
            let x = x.row(first + row);
            let scale = 1.0 / (dot(x, x) / w.len() as f32 + eps).sqrt();
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                *out = x * scale * w;
            }
        }
    }
}

kernel! {
    fn normalize_backward<'a>(
        dx: &'a mut [f32],
        dw: &'a mut [f32],
        x: MatRef<'a>,
        dy: MatRef<'a>,
        first: usize,
        w: &'a [f32],
        eps: f32,
    ) {
        for (row, dx) in dx.chunks_exact_mut(w.len()).enumerate() {
            let (x, dy) = (x.row(first + row), dy.row(first + row));
            let scale = 1.0 / (dot(x, x) / w.len() as f32 + eps).sqrt();
            for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                *dx = dy * w;
            }
            let along = dot(dx, x) * scale * scale / w.len() as f32;
            for (((dx, dw), x), dy) in dx.iter_mut().zip(dw.iter_mut()).zip(x).zip(dy) {
                *dx = (*dx - x * along) * scale;
                *dw += dy * x * scale;
            }
        }
    }
}

/// See [`Ops::sum_of_squares`](crate::Ops::sum_of_squares). Sums of equal parts, added in order.
pub(crate) fn sum_of_squares(input: Tensor<Flex, 1>) -> Tensor<Flex, 1> {
    const PART: usize = 64 * 1024;
    let input = View::contiguous(input);
    let parts = input.slice().chunks(PART);
    let mut sums = vec![0.0; parts.len()];
    let tasks = parts.zip(&mut sums).collect();
    team::each(
        tasks,
        || (),
        |(), (part, sum): (&[f32], &mut f64)| {
            *sum = f64::from(squares(part));
        },
    );
    tensor(vec![sums.into_iter().sum::<f64>() as f32], [1])
}

kernel! {
    fn squares<'a>(values: &'a [f32]) -> f32 {
        sum(values, |value| value * value)
    }
}
