//! Attention of blocks of queries to the keys they see, one task per sequence and head. The scores of a block stay
//! in the cache; the scores of a whole sequence are never in memory.

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::visible::Visible;
use super::{AttentionMask, AttentionOptions, Saved};
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, tensor};
use crate::flex::simd::{dot, exp, kernel, max, sum};
use crate::flex::team;

/// Number of queries per block.
const QUERIES: usize = 64;
/// Maximum number of scores per block (1 MiB); with many keys a block has fewer queries.
const SCORES: usize = 256 * 1024;

/// See [`Ops::causal_attention_saving`](crate::Ops::causal_attention_saving).
pub(crate) fn attention_saving(
    query: Tensor<Flex, 4>,
    key: Tensor<Flex, 4>,
    value: Tensor<Flex, 4>,
    mask: &AttentionMask<Flex>,
    options: AttentionOptions,
) -> Saved<Flex> {
    let [batch, seq, heads, _] = query.dims();
    let [_, _, _, value_dim] = value.dims();
    let visible = Visible::new(mask, options.window, seq);
    let [q, k, v] = [&query, &key, &value].map(|tensor| View::strided(tensor.clone()));

    let mut output = vec![0.0; batch * seq * heads * value_dim];
    let mut log_sum_exp = vec![0.0; batch * heads * seq];
    let tasks: Vec<_> = panels(&mut output, [batch, seq, heads, value_dim])
        .zip(log_sum_exp.chunks_mut(seq.max(1)))
        .enumerate()
        .collect();
    type Task<'a> = (usize, (MatMut<'a>, &'a mut [f32]));
    let work = |scores: &mut Vec<f32>, (task, (mut output, log_sum_exp)): Task<'_>| {
        let (item, head) = (task / heads, task % heads);
        let [q, k, v] = [&q, &k, &v].map(|of| matrix(of, item, head));
        for (queries, keys) in blocks(seq, item, &visible) {
            scores.resize(queries.len() * keys.len(), 0.0);
            let shape = [queries.len(), keys.len()];
            let (own_q, own_k) = (q.rows(queries.clone()), k.rows(keys.clone()).transposed());
            let mut product = MatMut::new(scores, shape);
            gemm(
                &mut product,
                Update::Set,
                options.scale as f32,
                own_q,
                own_k,
                Threads::One,
            );
            for (scores, query) in scores.chunks_exact_mut(keys.len()).zip(queries.clone()) {
                let seen = seen(scores, &visible, item, query, keys.start);
                log_sum_exp[query] = softmax(scores, seen);
            }
            let mut output = output.rows(queries);
            let attended = MatRef::new(scores, shape);
            gemm(
                &mut output,
                Update::Set,
                1.0,
                attended,
                v.rows(keys),
                Threads::One,
            );
        }
    };
    team::each(tasks, Vec::new, work);
    Saved {
        output: tensor(output, [batch, seq, heads, value_dim]),
        log_sum_exp: tensor(log_sum_exp, [batch, heads, seq]),
        mask: mask.clone(),
        query,
        key,
        value,
        options,
    }
}

/// See [`Ops::causal_attention_backward`](crate::Ops::causal_attention_backward).
pub(crate) fn attention_backward(
    saved: Saved<Flex>,
    grad: Tensor<Flex, 4>,
) -> [Tensor<Flex, 4>; 3] {
    let shape @ [batch, seq, heads, dim] = saved.query.dims();
    let value_shape @ [_, _, _, value_dim] = saved.value.dims();
    let visible = Visible::new(&saved.mask, saved.options.window, seq);
    let scale = saved.options.scale as f32;
    let [q, k, v] = [saved.query, saved.key, saved.value].map(View::strided);
    let [output, grad] = [saved.output, grad].map(View::rows);
    let log_sum_exp = View::rows(saved.log_sum_exp.reshape([batch * heads * seq]));

    let [mut d_query, mut d_key] = [(); 2].map(|()| vec![0.0; batch * seq * heads * dim]);
    let mut d_value = vec![0.0; batch * seq * heads * value_dim];
    let tasks: Vec<_> = panels(&mut d_query, shape)
        .zip(panels(&mut d_key, shape))
        .zip(panels(&mut d_value, value_shape))
        .enumerate()
        .collect();
    type Task<'a> = (usize, ((MatMut<'a>, MatMut<'a>), MatMut<'a>));
    let work = |[attended, score_grad]: &mut [Vec<f32>; 2],
                (task, ((mut d_query, mut d_key), mut d_value)): Task<'_>| {
        let (item, head) = (task / heads, task % heads);
        let [q, k, v, dy, y] = [&q, &k, &v, &grad, &output].map(|of| matrix(of, item, head));
        let log_sum_exp = &log_sum_exp.slice()[task * seq..][..seq];
        for (queries, keys) in blocks(seq, item, &visible) {
            let shape = [queries.len(), keys.len()];
            attended.resize(queries.len() * keys.len(), 0.0);
            score_grad.resize(queries.len() * keys.len(), 0.0);
            let [own_q, own_dy] = [q, dy].map(|of| of.rows(queries.clone()));
            let [own_k, own_v] = [k, v].map(|of| of.rows(keys.clone()));
            let set = |out: &mut [f32], scale, lhs, rhs| {
                let mut out = MatMut::new(out, shape);
                gemm(&mut out, Update::Set, scale, lhs, rhs, Threads::One);
            };
            set(attended, scale, own_q, own_k.transposed());
            set(score_grad, 1.0, own_dy, own_v.transposed());

            let rows = attended
                .chunks_exact_mut(keys.len())
                .zip(score_grad.chunks_exact_mut(keys.len()));
            for ((attended, score_grad), query) in rows.zip(queries.clone()) {
                let seen = seen(attended, &visible, item, query, keys.start);
                let (y, dy) = (y.row(query), dy.row(query));
                softmax_backward(attended, score_grad, seen, log_sum_exp[query], y, dy);
            }

            let [attended, score_grad] =
                [&*attended, &*score_grad].map(|of| MatRef::new(of, shape));
            let add = |mut out: MatMut<'_>, update, scale, lhs, rhs| {
                gemm(&mut out, update, scale, lhs, rhs, Threads::One);
            };
            add(d_query.rows(queries), Update::Set, scale, score_grad, own_k);
            add(
                d_key.rows(keys.clone()),
                Update::Add,
                scale,
                score_grad.transposed(),
                own_q,
            );
            add(
                d_value.rows(keys),
                Update::Add,
                1.0,
                attended.transposed(),
                own_dy,
            );
        }
    };
    team::each(tasks, Default::default, work);
    [
        tensor(d_query, shape),
        tensor(d_key, shape),
        tensor(d_value, value_shape),
    ]
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

/// Writable matrices `[seq, dim]` of every sequence and head, by sequence and then head.
fn panels(out: &mut [f32], [_, seq, heads, dim]: [usize; 4]) -> impl Iterator<Item = MatMut<'_>> {
    out.chunks_mut((seq * heads * dim).max(1))
        .flat_map(move |item| MatMut::new(item, [seq, heads * dim]).split_columns(dim))
}

/// Blocks of queries, each with the range of all keys that one of them sees.
fn blocks(
    seq: usize,
    item: usize,
    visible: &Visible,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let keys = visible.most().saturating_add(QUERIES).min(seq);
    let size = (SCORES / keys.max(1)).clamp(8, QUERIES);
    (0..seq).step_by(size).map(move |start| {
        let queries = start..(start + size).min(seq);
        let first = queries
            .clone()
            .map(|query| visible.first(item, query))
            .min();
        let keys = first.unwrap_or(0)..queries.end;
        (queries, keys)
    })
}

/// Hides keys of other documents, and returns the columns that a query sees, in scores that begin at key `from`.
fn seen(
    scores: &mut [f32],
    visible: &Visible,
    item: usize,
    query: usize,
    from: usize,
) -> Range<usize> {
    visible.hide(item, query, from, scores);
    visible.first(item, query) - from..query + 1 - from
}

kernel! {
    /// Softmax over the seen scores, zero elsewhere. Returns the logarithm of the denominator.
    fn softmax<'a>(scores: &'a mut [f32], seen: Range<usize>) -> f32 {
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        let scores = &mut scores[seen];
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
    /// Replaces scores by their softmax, and the gradient of the softmax by that of the scores.
    fn softmax_backward<'a>(
        scores: &'a mut [f32],
        grads: &'a mut [f32],
        seen: Range<usize>,
        log_sum_exp: f32,
        output: &'a [f32],
        output_grad: &'a [f32],
    ) {
        for values in [&mut *scores, &mut *grads] {
            values[..seen.start].fill(0.0);
            values[seen.end..].fill(0.0);
        }
        let along = dot(output, output_grad);
        for (score, grad) in scores[seen.clone()].iter_mut().zip(&mut grads[seen]) {
            *score = exp(*score - log_sum_exp);
            *grad = *score * (*grad - along);
        }
    }
}
