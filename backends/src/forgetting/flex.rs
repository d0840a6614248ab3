//! Forgetting attention of blocks of queries to the keys before them, one task per sequence and head.

use burn::tensor::Tensor;
use burn_flex::Flex;
use std::ops::Range;

use super::{Forgetting, Softmaxes};
use crate::attention::AttentionMask;
use crate::flex::fresh::new_parts;
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, indices, tensor};
use crate::flex::simd::{dot, exp, kernel, max, sum};
use crate::heads::HeadSharing;
use crate::heads::flex::{share_heads_backward, swap_heads};

/// Number of queries per block.
const QUERIES: usize = 64;

/// Inputs in memory.
struct Views {
    query: View<4>,
    key: View<4>,
    value: View<4>,
    kept: View<3>,
    /// Document numbers, `[batch, seq]`; empty for a single document.
    documents: Vec<usize>,
}

impl Views {
    fn new(input: Forgetting<Flex>, mask: &AttentionMask<Flex>) -> Self {
        Self {
            query: View::strided(input.query),
            key: View::strided(input.key),
            value: View::strided(input.value),
            kept: View::strided(input.kept),
            documents: match mask {
                AttentionMask::Causal => Vec::new(),
                AttentionMask::Documents(documents) => indices(documents.clone()),
            },
        }
    }

    fn sizes(&self) -> Sizes {
        let [batch, new, heads, dim] = self.query.shape();
        let [_, seq, _, value_dim] = self.value.shape();
        Sizes {
            batch,
            new,
            seq,
            heads,
            dim,
            value_dim,
        }
    }

    /// Queries, keys and values of one sequence and head; copies its cumulative gates to `sums`.
    fn head<'a>(&'a self, item: usize, head: usize, sums: &mut Vec<f32>) -> [MatRef<'a>; 3] {
        let sizes = self.sizes();
        let [_, _, key_heads, _] = self.key.shape();
        let start = item * self.kept.stride(0) + head * self.kept.stride(2);
        let kept = &self.kept.data()[start..];
        sums.clear();
        sums.extend((0..sizes.seq).map(|at| kept[at * self.kept.stride(1)]));
        [
            matrix(&self.query, item, head),
            matrix(&self.key, item, head / (sizes.heads / key_heads)),
            matrix(&self.value, item, head),
        ]
    }

    /// Adds the decays to the scores of a query, and hides later keys and keys of other documents.
    fn bias(&self, scores: &mut [f32], kept: &[f32], item: usize, position: usize) {
        let seq = kept.len();
        let (seen, future) = scores.split_at_mut(position + 1);
        future.fill(f32::NEG_INFINITY);
        add_decays(seen, kept, kept[position]);
        if let Some(numbers) = self.documents.get(item * seq..(item + 1) * seq) {
            for (score, number) in seen.iter_mut().zip(numbers) {
                if *number != numbers[position] {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    new: usize,
    seq: usize,
    heads: usize,
    dim: usize,
    value_dim: usize,
}

impl Sizes {
    /// Blocks of queries, each with the number of keys that its last query sees.
    fn blocks(self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let before = self.seq - self.new;
        (0..self.new).step_by(QUERIES).map(move |start| {
            let end = (start + QUERIES).min(self.new);
            (start..end, before + end)
        })
    }
}

/// See [`Ops::forgetting_attention`](crate::Ops::forgetting_attention).
pub(crate) fn forgetting_attention(
    input: Forgetting<Flex>,
    mask: &AttentionMask<Flex>,
    scale: f64,
) -> Softmaxes<Flex> {
    let views = Views::new(input, mask);
    let sizes = views.sizes();
    let Sizes {
        new,
        heads,
        value_dim,
        ..
    } = sizes;
    let tasks = sizes.batch * heads;
    let work = |[scores, kept]: &mut [Vec<f32>; 2],
                task: usize,
                [output, log_sum_exp]: [&mut [f32]; 2]| {
        let item = task / heads;
        let [query, key, value] = views.head(item, task % heads, kept);
        for (queries, keys) in sizes.blocks() {
            let shape = [queries.len(), keys];
            scores.resize(shape[0] * keys, 0.0);
            let own = query.rows(queries.clone());
            let seen = key.rows(0..keys).transposed();
            let mut product = MatMut::new(scores, shape);
            gemm(
                &mut product,
                Update::Set,
                scale as f32,
                own,
                seen,
                Threads::One,
            );
            for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let query = queries.start + row;
                views.bias(scores, kept, item, sizes.seq - new + query);
                log_sum_exp[query] = softmax(scores);
            }
            let attended = MatRef::new(scores, shape);
            let output = &mut output[queries.start * value_dim..queries.end * value_dim];
            let mut output = MatMut::new(output, [queries.len(), value_dim]);
            let value = value.rows(0..keys);
            gemm(&mut output, Update::Set, 1.0, attended, value, Threads::One);
        }
    };
    let sizes_of_task = [new * value_dim, new];
    let [output, log_sum_exp] = new_parts(tasks, sizes_of_task, Default::default, work);
    Softmaxes {
        output: tensor(output, [sizes.batch, heads, new, value_dim]),
        log_sum_exp: tensor(log_sum_exp, [sizes.batch, heads, new]),
    }
}

/// See [`ByHand::backward`](super::ByHand::backward).
pub(crate) fn forgetting_attention_backward(
    input: Forgetting<Flex>,
    mask: &AttentionMask<Flex>,
    scale: f64,
    softmaxes: Softmaxes<Flex>,
    grad: Tensor<Flex, 4>,
) -> Forgetting<Flex> {
    let [_, _, key_heads, _] = input.key.dims();
    let views = Views::new(input, mask);
    let sizes @ Sizes {
        batch,
        new,
        seq,
        heads,
        dim,
        value_dim,
    } = views.sizes();
    let tasks = batch * heads;
    let rows = |of: Tensor<Flex, 4>| View::rows(of.reshape([tasks * new, value_dim]));
    let (output, grad) = (rows(softmaxes.output), rows(grad.swap_dims(1, 2)));
    let (output, grad) = (output.matrix(), grad.matrix());
    let log_sum_exp = View::rows(softmaxes.log_sum_exp.reshape([tasks * new]));
    let log_sum_exp = log_sum_exp.slice();

    let scale = scale as f32;
    let work = |[attended, score_grad, kept]: &mut [Vec<f32>; 3],
                task: usize,
                [d_query, d_key, d_value, d_kept]: [&mut [f32]; 4]| {
        let item = task / heads;
        let [query, key, value] = views.head(item, task % heads, kept);
        let [output, grad] = [output, grad].map(|of| of.rows(task * new..(task + 1) * new));
        for (queries, keys) in sizes.blocks() {
            let shape = [queries.len(), keys];
            attended.resize(shape[0] * keys, 0.0);
            score_grad.resize(shape[0] * keys, 0.0);
            let own = query.rows(queries.clone());
            let own_grad = grad.rows(queries.clone());
            let (key, value) = (key.rows(0..keys), value.rows(0..keys));
            let mut to = MatMut::new(attended, shape);
            gemm(
                &mut to,
                Update::Set,
                scale,
                own,
                key.transposed(),
                Threads::One,
            );
            let mut to = MatMut::new(score_grad, shape);
            gemm(
                &mut to,
                Update::Set,
                1.0,
                own_grad,
                value.transposed(),
                Threads::One,
            );
            let rows = attended
                .chunks_exact_mut(keys)
                .zip(score_grad.chunks_exact_mut(keys));
            for (row, (attended, score_grad)) in rows.enumerate() {
                let query = queries.start + row;
                views.bias(attended, kept, item, seq - new + query);
                let denominator = log_sum_exp[task * new + query];
                let (y, dy) = (output.row(query), grad.row(query));
                softmax_backward(attended, score_grad, denominator, y, dy, d_kept);
            }
            let [attended, score_grad] =
                [&*attended, &*score_grad].map(|of| MatRef::new(of, shape));
            let part = &mut d_query[queries.start * dim..queries.end * dim];
            let mut to = MatMut::new(part, [queries.len(), dim]);
            gemm(&mut to, Update::Set, scale, score_grad, key, Threads::One);
            let mut to = MatMut::new(&mut d_key[..keys * dim], [keys, dim]);
            gemm(
                &mut to,
                Update::Add,
                scale,
                score_grad.transposed(),
                own,
                Threads::One,
            );
            let mut to = MatMut::new(&mut d_value[..keys * value_dim], [keys, value_dim]);
            gemm(
                &mut to,
                Update::Add,
                1.0,
                attended.transposed(),
                own_grad,
                Threads::One,
            );
        }
    };
    let sizes_of_task = [new * dim, seq * dim, seq * value_dim, seq];
    let [d_query, d_key, d_value, d_kept] = new_parts(tasks, sizes_of_task, Default::default, work);
    let by_token = |values, rows, width| swap_heads(tensor(values, [batch, heads, rows, width]));
    let group = heads / key_heads;
    let key: Tensor<Flex, 4> = by_token(d_key, seq, dim);
    let key = match group {
        1 => key,
        _ => share_heads_backward(key, group, HeadSharing::Grouped),
    };
    Forgetting {
        query: by_token(d_query, new, dim),
        key,
        value: by_token(d_value, seq, value_dim),
        kept: tensor(d_kept, [batch, heads, seq]).swap_dims(1, 2),
    }
}

/// Matrix of one sequence and head, `[seq, dim]`.
fn matrix(tensor: &View<4>, item: usize, head: usize) -> MatRef<'_> {
    let [_, seq, _, dim] = tensor.shape();
    let start = item * tensor.stride(0) + head * tensor.stride(2);
    MatRef::strided(
        &tensor.data()[start..],
        [seq, dim],
        [tensor.stride(1), tensor.stride(3)],
    )
}

kernel! {
    /// `score_j += own - kept_j`.
    fn add_decays<'a>(scores: &'a mut [f32], kept: &'a [f32], own: f32) {
        for (score, kept) in scores.iter_mut().zip(kept) {
            *score += own - kept;
        }
    }
}

kernel! {
    /// Softmax in place. Returns the logarithm of the denominator.
    fn softmax<'a>(scores: &'a mut [f32]) -> f32 {
        let largest = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - largest);
        }
        let denominator = sum(scores, |score| score);
        let factor = 1.0 / denominator;
        for score in scores.iter_mut() {
            *score *= factor;
        }
        largest + denominator.ln()
    }
}

kernel! {
    /// Replaces scores by their softmax and the gradient of the softmax by that of the scores, and adds the gradient
    /// of the keys' cumulative gates. The query's own cumulative gate shifts all its scores equally, so it has no
    /// gradient.
    fn softmax_backward<'a>(
        scores: &'a mut [f32],
        grads: &'a mut [f32],
        log_sum_exp: f32,
        output: &'a [f32],
        output_grad: &'a [f32],
        kept: &'a mut [f32],
    ) {
        let along = dot(output, output_grad);
        for ((score, grad), kept) in scores.iter_mut().zip(grads.iter_mut()).zip(kept.iter_mut()) {
            *score = exp(*score - log_sum_exp);
            *grad = *score * (*grad - along);
            *kept -= *grad;
        }
    }
}
