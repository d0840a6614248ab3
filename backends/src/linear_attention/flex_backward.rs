//! Backward pass, from the last chunk to the first; the states before the chunks are recomputed.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::flex::{Chunk, Views, multiply, pieces, scale_rows, set};
use super::solve::solve_transposed;
use super::{LinearAttention, LinearAttentionOptions, UpdateRule, runs};
use crate::attention::AttentionMask;
use crate::flex::fresh::new_parts;
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, tensor};
use crate::flex::simd::dot;
use crate::heads::flex::swap_heads;

/// Gradients of the six inputs, with heads before tokens: `[batch, heads, seq, _]`.
struct Gradients<'a> {
    query: &'a mut [f32],
    key: &'a mut [f32],
    value: &'a mut [f32],
    log_decay: &'a mut [f32],
    write: &'a mut [f32],
    /// Gradient of the state after the current chunk, then of the state before it.
    state: &'a mut [f32],
}

/// Buffers of a chunk.
#[derive(Debug, Default)]
struct Scratch {
    /// Gradient of the decayed scores, times the decay, `[len, len]`.
    scores: Vec<f32>,
    /// Gradient of the values that the outputs read, `[len, value_dim]`.
    values: Vec<f32>,
    /// Gradient of the values written to the state, `[len, value_dim]`.
    written: Vec<f32>,
    /// Gradient of the keys decayed to the end, `[len, key_dim]`.
    decayed_key: Vec<f32>,
    /// Gradient of the queries or keys that multiply the state, `[len, key_dim]`.
    met: Vec<f32>,
    /// Decayed queries or keys, `[len, key_dim]`.
    decayed: Vec<f32>,
    /// Gradient of the cumulative log decay of each token, `[len]`.
    logs: Vec<f32>,
}

/// See [`ByHand::backward`](super::ByHand::backward).
pub(crate) fn linear_attention_backward(
    input: LinearAttention<Flex>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<Flex>,
    grad: Tensor<Flex, 4>,
) -> LinearAttention<Flex> {
    let [batch, seq, heads, key_dim] = input.key.dims();
    let [_, _, _, value_dim] = input.value.dims();
    let documents = runs(mask);
    let views = Views::new(input);
    let grad = View::rows(grad.reshape([batch * heads, (seq + key_dim) * value_dim]));
    let grad = grad.matrix();

    let tasks = batch * heads;
    type Kept = (Chunk, Scratch, Vec<f32>);
    let work = |(chunk, scratch, states): &mut Kept, task: usize, outputs: [&mut [f32]; 6]| {
        let [query, key, value, log_decay, write, state] = outputs;
        let gradients = Gradients {
            query,
            key,
            value,
            log_decay,
            write,
            state,
        };
        let place = [task / heads, task % heads];
        let pieces = pieces(documents.as_deref(), place[0], seq, options.rule);
        let size = key_dim * value_dim;
        states.clear();
        states.resize((pieces.len() + 1) * size, 0.0);
        views.initial(place[0], place[1], &mut states[..size]);
        for (at, &(start, len)) in pieces.iter().enumerate() {
            let (before, after) = states[at * size..][..2 * size].split_at_mut(size);
            if start.begins && start.at > 0 {
                before.fill(0.0);
            }
            chunk.load(&views, place, start.at, len);
            chunk.prepare(before, options);
            after.copy_from_slice(before);
            chunk.advance(after);
        }

        let (output_grad, state_grad) = grad.row(task).split_at(seq * value_dim);
        gradients.state.copy_from_slice(state_grad);
        for (at, &(start, len)) in pieces.iter().enumerate().rev() {
            let before = &states[at * size..][..size];
            chunk.load(&views, place, start.at, len);
            chunk.prepare(before, options);
            let tokens = |width: usize| start.at * width..(start.at + len) * width;
            let part = Gradients {
                query: &mut gradients.query[tokens(key_dim)],
                key: &mut gradients.key[tokens(key_dim)],
                value: &mut gradients.value[tokens(value_dim)],
                log_decay: &mut gradients.log_decay[tokens(1)],
                write: &mut gradients.write[tokens(1)],
                state: &mut *gradients.state,
            };
            let output_grad = &output_grad[tokens(value_dim)];
            scratch.differentiate(chunk, before, output_grad, part, options);
            if start.begins && start.at > 0 {
                gradients.state.fill(0.0);
            }
        }
    };
    let [keyed, valued] = [seq * key_dim, seq * value_dim];
    let sizes = [keyed, keyed, valued, seq, seq, key_dim * value_dim];
    let outputs = new_parts(tasks, sizes, Kept::default, work);
    let [query, key, value, log_decay, write, state] = outputs;

    let by_token = |values, width| swap_heads(tensor(values, [batch, heads, seq, width]));
    let gates = |values| tensor(values, [batch, heads, seq]).swap_dims(1, 2);
    LinearAttention {
        query: by_token(query, key_dim),
        key: by_token(key, key_dim),
        value: by_token(value, value_dim),
        log_decay: gates(log_decay),
        write: gates(write),
        state: tensor(state, [batch, heads, key_dim, value_dim]),
    }
}

impl Scratch {
    /// Computes the gradients of a chunk with initial state `before`. Replaces `out.state`, the gradient of the
    /// state after the chunk, by that of the state before it.
    fn differentiate(
        &mut self,
        chunk: &Chunk,
        before: &[f32],
        output: &[f32],
        out: Gradients<'_>,
        options: LinearAttentionOptions,
    ) {
        let (len, key_dim, value_dim) = (chunk.len, chunk.key_dim, chunk.value_dim);
        let scale = options.scale as f32;
        let (keyed, valued, square) = ([len, key_dim], [len, value_dim], [len, len]);
        let before_matrix = MatRef::new(before, [key_dim, value_dim]);
        let output = MatRef::new(output, valued);
        let whole = chunk.since_start[len - 1];
        self.logs.clear();
        self.logs.resize(len, 0.0);

        // through the scores
        let scores = &mut self.scores;
        scores.clone_from(&chunk.scores);
        multiply(scores, &chunk.between);
        set(
            &mut self.values,
            [len, value_dim],
            1.0,
            MatRef::new(scores, square).transposed(),
            output,
        );
        set(
            scores,
            [len, len],
            1.0,
            output,
            MatRef::new(&chunk.values, valued).transposed(),
        );
        multiply(scores, &chunk.between);
        let mut query = MatMut::new(out.query, [len, key_dim]);
        gemm(
            &mut query,
            Update::Set,
            scale,
            MatRef::new(scores, square),
            MatRef::new(&chunk.key, keyed),
            Threads::One,
        );
        let mut key = MatMut::new(out.key, [len, key_dim]);
        let transposed = MatRef::new(scores, square).transposed();
        gemm(
            &mut key,
            Update::Set,
            scale,
            transposed,
            MatRef::new(&chunk.query, keyed),
            Threads::One,
        );
        multiply(scores, &chunk.scores);
        pair_logs(&mut self.logs, scores);

        // through the outputs read from the initial state
        set(
            &mut self.met,
            [len, key_dim],
            scale,
            output,
            before_matrix.transposed(),
        );
        scale_rows(&mut self.met, key_dim, &chunk.since_start);
        add_row_products(&mut self.logs, &chunk.query, &self.met, key_dim);
        add(out.query, &self.met);
        self.decayed.clone_from(&chunk.query);
        scale_rows(&mut self.decayed, key_dim, &chunk.since_start);
        let read = MatRef::new(&self.decayed, keyed).transposed();
        set(&mut self.met, [key_dim, value_dim], scale, read, output);
        // `met` now holds the gradient of the initial state through these outputs
        let mut state_before = std::mem::take(&mut self.met);

        // through the state after
        let after = MatRef::new(&*out.state, [key_dim, value_dim]);
        let keys = MatRef::new(&chunk.decayed_key, keyed);
        set(&mut self.written, [len, value_dim], 1.0, keys, after);
        let written = MatRef::new(&chunk.written, valued);
        set(
            &mut self.decayed_key,
            [len, key_dim],
            1.0,
            written,
            after.transposed(),
        );
        match options.rule {
            UpdateRule::Additive | UpdateRule::Delta => add(&mut self.values, &self.written),
            UpdateRule::ChunkDelta { .. } => {
                row_products(out.write, &self.written, &chunk.unknown, value_dim);
                scale_rows(&mut self.written, value_dim, &chunk.write);
                add(&mut self.values, &self.written);
                let known = MatRef::new(&self.written, valued);
                let mut keys_grad = MatMut::new(&mut self.decayed_key, [len, key_dim]);
                let factor = -scale * whole;
                let state = before_matrix.transposed();
                gemm(
                    &mut keys_grad,
                    Update::Add,
                    factor,
                    known,
                    state,
                    Threads::One,
                );
                let mut state = MatMut::new(out.state, [key_dim, value_dim]);
                gemm(
                    &mut state,
                    Update::Add,
                    -scale,
                    keys.transposed(),
                    known,
                    Threads::One,
                );
            }
        }
        let mut last = whole * dot_all(before, out.state);
        for row in 0..len {
            let rows = row * key_dim..(row + 1) * key_dim;
            let product = dot_all(&chunk.decayed_key[rows.clone()], &self.decayed_key[rows]);
            self.logs[row] -= product;
            last += product;
        }
        self.logs[len - 1] += last;
        scale_rows(&mut self.decayed_key, key_dim, &chunk.to_end);
        add(out.key, &self.decayed_key);
        for (before, after) in state_before.iter_mut().zip(&*out.state) {
            *before += whole * after;
        }
        out.state.copy_from_slice(&state_before);
        self.met = state_before;

        match options.rule {
            UpdateRule::Additive | UpdateRule::ChunkDelta { .. } => {
                out.value.copy_from_slice(&self.values);
            }
            UpdateRule::Delta => self.through_solution(
                chunk,
                before,
                Gradients {
                    query: &mut [],
                    key: out.key,
                    value: out.value,
                    log_decay: &mut [],
                    write: out.write,
                    state: out.state,
                },
            ),
        }
        let mut sum = 0.0;
        for (out, log) in out.log_decay.iter_mut().zip(&self.logs).rev() {
            sum += f64::from(*log);
            *out = sum as f32;
        }
    }

    /// Backward pass of the delta rule's system `(I + L) U = W`: from the gradient of `U` to those of `L` and `W`.
    fn through_solution(&mut self, chunk: &Chunk, before: &[f32], out: Gradients<'_>) {
        let (len, key_dim, value_dim) = (chunk.len, chunk.key_dim, chunk.value_dim);
        let lower = |row: usize, column: usize| {
            let at = row * len + column;
            chunk.write[row] * chunk.between[at] * chunk.products[at]
        };
        solve_transposed(&mut self.values, value_dim, lower);
        let wanted = MatRef::new(&self.values, [len, value_dim]);

        // L
        let solution = MatRef::new(&chunk.values, [len, value_dim]);
        set(
            &mut self.scores,
            [len, len],
            -1.0,
            wanted,
            solution.transposed(),
        );
        multiply(&mut self.scores, &chunk.between);
        for (row, grads) in self.scores.chunks_exact_mut(len).enumerate() {
            grads[row..].fill(0.0);
            out.write[row] = dot_all(grads, &chunk.products[row * len..][..len]);
        }
        scale_rows(&mut self.scores, len, &chunk.write);
        let grads = MatRef::new(&self.scores, [len, len]);
        let key = MatRef::new(&chunk.key, [len, key_dim]);
        let mut key_grad = MatMut::new(out.key, [len, key_dim]);
        gemm(&mut key_grad, Update::Add, 1.0, grads, key, Threads::One);
        gemm(
            &mut key_grad,
            Update::Add,
            1.0,
            grads.transposed(),
            key,
            Threads::One,
        );
        multiply(&mut self.scores, &chunk.products);
        pair_logs(&mut self.logs, &self.scores);

        // W
        for (row, write) in out.write.iter_mut().enumerate() {
            let rows = row * value_dim..(row + 1) * value_dim;
            *write += dot_all(&self.values[rows.clone()], &chunk.unknown[rows]);
        }
        scale_rows(&mut self.values, value_dim, &chunk.write);
        out.value.copy_from_slice(&self.values);
        let values = MatRef::new(&self.values, [len, value_dim]);
        let state = MatRef::new(before, [key_dim, value_dim]);
        set(
            &mut self.decayed,
            [len, key_dim],
            -1.0,
            values,
            state.transposed(),
        );
        scale_rows(&mut self.decayed, key_dim, &chunk.since_start);
        add_row_products(&mut self.logs, &chunk.key, &self.decayed, key_dim);
        add(out.key, &self.decayed);
        self.decayed.clone_from(&chunk.key);
        scale_rows(&mut self.decayed, key_dim, &chunk.since_start);
        let keys = MatRef::new(&self.decayed, [len, key_dim]).transposed();
        let mut state = MatMut::new(out.state, [key_dim, value_dim]);
        gemm(&mut state, Update::Add, -1.0, keys, values, Threads::One);
    }
}

/// Adds the gradients of cumulative log decays, from products `g_ij` of a gradient and the quantity that decays from
/// `j` to `i`.
fn pair_logs(logs: &mut [f32], products: &[f32]) {
    let len = logs.len();
    for (row, products) in products.chunks_exact(len).enumerate() {
        let mut sum = 0.0;
        for (log, product) in logs[..row].iter_mut().zip(products) {
            *log -= product;
            sum += product;
        }
        logs[row] += sum;
    }
}

/// `out_i = left_i . right_i`, for rows of `width`.
fn row_products(out: &mut [f32], left: &[f32], right: &[f32], width: usize) {
    let rows = left.chunks_exact(width).zip(right.chunks_exact(width));
    for (out, (left, right)) in out.iter_mut().zip(rows) {
        *out = dot_all(left, right);
    }
}

/// `out_i += left_i . right_i`, for rows of `width`.
fn add_row_products(out: &mut [f32], left: &[f32], right: &[f32], width: usize) {
    let rows = left.chunks_exact(width).zip(right.chunks_exact(width));
    for (out, (left, right)) in out.iter_mut().zip(rows) {
        *out += dot_all(left, right);
    }
}

fn dot_all(left: &[f32], right: &[f32]) -> f32 {
    dot(left, right)
}

fn add(to: &mut [f32], values: &[f32]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += value;
    }
}
