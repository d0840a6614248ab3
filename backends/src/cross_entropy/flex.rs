//! Cross-entropy with one read of the logits forward, and one pass in place backward; rows in parallel.

use burn::tensor::{Int, Tensor, TensorPrimitive};
use burn_flex::Flex;

use crate::flex::matrix::{MatRef, Threads};
use crate::flex::rows::{View, for_each_rows, indices, memory, rows_per_task, tensor};
use crate::flex::simd::{exp, kernel, max, sum};
use crate::flex::team;

/// See [`Ops::cross_entropy_saving`](crate::Ops::cross_entropy_saving).
pub(crate) fn cross_entropy_saving(
    logits: Tensor<Flex, 2>,
    targets: Tensor<Flex, 1, Int>,
) -> (Tensor<Flex, 1>, Tensor<Flex, 1>) {
    let [tokens, width] = logits.dims();
    let logits = View::rows(logits);
    let logits = logits.matrix();
    let mut log_sum_exps = vec![0.0; tokens];
    let rows = rows_per_task(width);
    let tasks = log_sum_exps.chunks_mut(rows).enumerate().collect();
    team::each(
        tasks,
        || (),
        |(), (task, out): (usize, &mut [f32])| log_sum_exp(out, logits, task * rows),
    );

    let targets = indices(targets);
    let losses = log_sum_exps
        .iter()
        .zip(targets)
        .enumerate()
        .map(|(row, (log_sum_exp, target))| log_sum_exp - logits.row(row)[target])
        .collect();
    (tensor(losses, [tokens]), tensor(log_sum_exps, [tokens]))
}

/// See [`Ops::cross_entropy_backward`](crate::Ops::cross_entropy_backward). Overwrites the logits if nothing else
/// holds them.
pub(crate) fn cross_entropy_backward(
    logits: Tensor<Flex, 2>,
    targets: Tensor<Flex, 1, Int>,
    log_sum_exp: Tensor<Flex, 1>,
    grad: Tensor<Flex, 1>,
) -> Tensor<Flex, 2> {
    let [tokens, width] = logits.dims();
    let targets = indices(targets);
    let (log_sum_exp, grad) = (View::rows(log_sum_exp), View::rows(grad));
    let (log_sum_exp, grad) = (log_sum_exp.slice(), grad.slice());

    let mut logits = memory(logits).to_contiguous();
    let all = &mut logits.storage_mut::<f32>()[..tokens * width];
    for_each_rows(Threads::All, all, width, |first, logits| {
        let last = first + logits.len() / width;
        let (log_sum_exp, grad) = (&log_sum_exp[first..last], &grad[first..last]);
        softmax_minus_one_hot(logits, log_sum_exp, grad, &targets[first..last]);
    });
    Tensor::from_primitive(TensorPrimitive::Float(logits))
}

kernel! {
    fn log_sum_exp<'a>(out: &'a mut [f32], logits: MatRef<'a>, first: usize) {
        for (row, out) in out.iter_mut().enumerate() {
            let logits = logits.row(first + row);
            let largest = max(logits);
            *out = largest + sum(logits, |logit| exp(logit - largest)).ln();
        }
    }
}

kernel! {
    fn softmax_minus_one_hot<'a>(
        logits: &'a mut [f32],
        log_sum_exp: &'a [f32],
        grad: &'a [f32],
        targets: &'a [usize],
    ) {
        let width = logits.len() / targets.len();
        for (row, logits) in logits.chunks_exact_mut(width).enumerate() {
            let (log_sum_exp, grad) = (log_sum_exp[row], grad[row]);
            for logit in logits.iter_mut() {
                *logit = exp(*logit - log_sum_exp) * grad;
            }
            logits[targets[row]] -= grad;
        }
    }
}
