//! Chunked linear attention as matrix products, one task per sequence and head.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::solve::solve;
use super::{LinearAttention, LinearAttentionOptions, UpdateRule, runs};
use crate::attention::AttentionMask;
use crate::flex::fresh::new_parts;
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, tensor};
use crate::flex::simd::{exp, kernel};

/// Tokens per chunk, unless the rule sets it.
const CHUNK: usize = 64;

/// The inputs in memory.
pub(super) struct Views {
    query: View<4>,
    key: View<4>,
    value: View<4>,
    log_decay: View<3>,
    write: View<3>,
    state: View<4>,
}

impl Views {
    pub(super) fn new(input: LinearAttention<Flex>) -> Self {
        Self {
            query: View::strided(input.query),
            key: View::strided(input.key),
            value: View::strided(input.value),
            log_decay: View::strided(input.log_decay),
            write: View::strided(input.write),
            state: View::strided(input.state),
        }
    }

    /// Copies the initial state of a sequence and head.
    pub(super) fn initial(&self, item: usize, head: usize, state: &mut [f32]) {
        Self::copy_state(&self.state, item, head, state);
    }

    /// Copies a state of a sequence and head.
    fn copy_state(from: &View<4>, item: usize, head: usize, state: &mut [f32]) {
        let [_, _, _, width] = from.shape();
        let start = item * from.stride(0) + head * from.stride(1);
        let data = &from.data()[start..];
        for (row, to) in state.chunks_exact_mut(width).enumerate() {
            let data = &data[row * from.stride(2)..];
            match from.stride(3) {
                1 => to.copy_from_slice(&data[..width]),
                stride => {
                    for (column, to) in to.iter_mut().enumerate() {
                        *to = data[column * stride];
                    }
                }
            }
        }
    }
}

/// Inputs of a chunk of one sequence and head, with derived values.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) len: usize,
    pub(super) key_dim: usize,
    pub(super) value_dim: usize,
    /// `[len, key_dim]`.
    pub(super) query: Vec<f32>,
    /// `[len, key_dim]`.
    pub(super) key: Vec<f32>,
    /// `[len, value_dim]`.
    pub(super) value: Vec<f32>,
    /// `[len]`.
    pub(super) write: Vec<f32>,
    /// Decay from the start of the chunk through each token, `[len]`.
    pub(super) since_start: Vec<f32>,
    /// Decay from each token to the end of the chunk, `[len]`.
    pub(super) to_end: Vec<f32>,
    /// Decay between two tokens, zero above the diagonal, `[len, len]`.
    pub(super) between: Vec<f32>,
    /// Keys, decayed to the end of the chunk, `[len, key_dim]`.
    pub(super) decayed_key: Vec<f32>,
    /// Scaled products of queries and keys, `[len, len]`.
    pub(super) scores: Vec<f32>,
    /// Products of keys, `[len, len]`; only for the delta rule.
    pub(super) products: Vec<f32>,
    /// Values that later tokens of the chunk read, `[len, value_dim]`: the inputs, or for the delta rule the
    /// solution of its system.
    pub(super) values: Vec<f32>,
    /// Values written to the state, `[len, value_dim]`.
    pub(super) written: Vec<f32>,
    /// For the delta rules, values minus the state's prediction of them, `[len, value_dim]`.
    pub(super) unknown: Vec<f32>,
    /// Decayed scores, `[len, len]`.
    decayed_scores: Vec<f32>,
}

impl Chunk {
    /// Loads tokens `start..start + len`.
    pub(super) fn load(
        &mut self,
        views: &Views,
        [item, head]: [usize; 2],
        start: usize,
        len: usize,
    ) {
        let ([_, _, _, key_dim], [_, _, _, value_dim]) = (views.key.shape(), views.value.shape());
        (self.len, self.key_dim, self.value_dim) = (len, key_dim, value_dim);
        copy_rows(&views.query, item, head, start, len, &mut self.query);
        copy_rows(&views.key, item, head, start, len, &mut self.key);
        copy_rows(&views.value, item, head, start, len, &mut self.value);
        copy_gates(&views.write, item, head, start, len, &mut self.write);
        copy_gates(
            &views.log_decay,
            item,
            head,
            start,
            len,
            &mut self.since_start,
        );

        let mut sum = 0.0;
        for log in &mut self.since_start {
            sum += f64::from(*log);
            *log = sum as f32;
        }
        self.between.resize(len * len, 0.0);
        decays_between(&mut self.between, &self.since_start);
        let last = sum as f32;
        self.to_end.clear();
        self.to_end
            .extend(self.since_start.iter().map(|log| exp(last - log)));
        for log in &mut self.since_start {
            *log = exp(*log);
        }
        self.decayed_key.clone_from(&self.key);
        scale_rows(&mut self.decayed_key, key_dim, &self.to_end);
    }

    /// Computes the values that the chunk reads and writes, given the state before it.
    pub(super) fn prepare(&mut self, state: &[f32], options: LinearAttentionOptions) {
        let (len, key_dim, value_dim) = (self.len, self.key_dim, self.value_dim);
        let [query, key] = [&self.query, &self.key].map(|of| MatRef::new(of, [len, key_dim]));
        let state_matrix = MatRef::new(state, [key_dim, value_dim]);
        let scale = options.scale as f32;
        set(&mut self.scores, [len, len], scale, query, key.transposed());
        self.values.clone_from(&self.value);
        match options.rule {
            UpdateRule::Additive => self.written.clone_from(&self.value),
            UpdateRule::ChunkDelta { .. } => {
                let known = &mut self.unknown;
                let decayed = MatRef::new(&self.decayed_key, [len, key_dim]);
                let whole = self.since_start[len - 1];
                set(
                    known,
                    [len, value_dim],
                    scale * whole,
                    decayed,
                    state_matrix,
                );
                subtract_from(known, &self.value);
                self.written.clone_from(known);
                scale_rows(&mut self.written, value_dim, &self.write);
            }
            UpdateRule::Delta => {
                let known = &mut self.unknown;
                set(known, [len, value_dim], 1.0, key, state_matrix);
                scale_rows(known, value_dim, &self.since_start);
                subtract_from(known, &self.value);
                set(&mut self.products, [len, len], 1.0, key, key.transposed());
                self.values.clone_from(known);
                scale_rows(&mut self.values, value_dim, &self.write);
                let mixed = |row: usize, column: usize| {
                    let at = row * len + column;
                    self.write[row] * self.between[at] * self.products[at]
                };
                solve(&mut self.values, value_dim, mixed);
                self.written.clone_from(&self.values);
            }
        }
    }

    /// Computes the output of the chunk, `[len, value_dim]`.
    pub(super) fn read(&mut self, state: &[f32], scale: f32, output: &mut [f32]) {
        let (len, key_dim, value_dim) = (self.len, self.key_dim, self.value_dim);
        let query = MatRef::new(&self.query, [len, key_dim]);
        let state = MatRef::new(state, [key_dim, value_dim]);
        let mut out = MatMut::new(output, [len, value_dim]);
        gemm(&mut out, Update::Set, scale, query, state, Threads::One);
        scale_rows(output, value_dim, &self.since_start);
        self.decayed_scores.clone_from(&self.scores);
        multiply(&mut self.decayed_scores, &self.between);
        let scores = MatRef::new(&self.decayed_scores, [len, len]);
        let values = MatRef::new(&self.values, [len, value_dim]);
        let mut out = MatMut::new(output, [len, value_dim]);
        gemm(&mut out, Update::Add, 1.0, scores, values, Threads::One);
    }

    /// Replaces the state before the chunk by the state after it.
    pub(super) fn advance(&self, state: &mut [f32]) {
        let (len, key_dim, value_dim) = (self.len, self.key_dim, self.value_dim);
        let whole = self.since_start[len - 1];
        state.iter_mut().for_each(|value| *value *= whole);
        let keys = MatRef::new(&self.decayed_key, [len, key_dim]).transposed();
        let written = MatRef::new(&self.written, [len, value_dim]);
        let mut state = MatMut::new(state, [key_dim, value_dim]);
        gemm(&mut state, Update::Add, 1.0, keys, written, Threads::One);
    }
}

/// See [`Ops::linear_attention`](crate::Ops::linear_attention). The output holds the final states after the tokens,
/// `[batch, heads, seq + key_dim, value_dim]`.
pub(crate) fn linear_attention(
    input: LinearAttention<Flex>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<Flex>,
) -> Tensor<Flex, 4> {
    let [batch, seq, heads, key_dim] = input.key.dims();
    let [_, _, _, value_dim] = input.value.dims();
    let documents = runs(mask);
    let views = Views::new(input);
    let work = |chunk: &mut Chunk, task: usize, [packed]: [&mut [f32]; 1]| {
        let place = [task / heads, task % heads];
        let (output, state) = packed.split_at_mut(seq * value_dim);
        views.initial(place[0], place[1], state);
        for (start, len) in pieces(documents.as_deref(), place[0], seq, options.rule) {
            if start.begins && start.at > 0 {
                state.fill(0.0);
            }
            chunk.load(&views, place, start.at, len);
            chunk.prepare(state, options);
            let output = &mut output[start.at * value_dim..][..len * value_dim];
            chunk.read(state, options.scale as f32, output);
            chunk.advance(state);
        }
    };
    let size = (seq + key_dim) * value_dim;
    let [packed] = new_parts(batch * heads, [size], Chunk::default, work);
    tensor(packed, [batch, heads, seq + key_dim, value_dim])
}

/// Start of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) at: usize,
    /// Whether a document starts here.
    pub(super) begins: bool,
}

/// Start and length of every chunk of a row.
pub(super) fn pieces(
    documents: Option<&[Vec<std::ops::Range<usize>>]>,
    item: usize,
    seq: usize,
    rule: UpdateRule,
) -> Vec<(Start, usize)> {
    let length = match rule {
        UpdateRule::ChunkDelta { chunk } => chunk,
        UpdateRule::Additive | UpdateRule::Delta => CHUNK,
    };
    let whole = std::slice::from_ref(&(0..seq)).to_vec();
    let row = documents.map_or(whole, |rows| rows[item].clone());
    row.into_iter()
        .flat_map(|run| {
            let first = run.start;
            let starts = run.clone().step_by(length);
            starts.map(move |at| {
                let begins = at == first;
                (Start { at, begins }, length.min(run.end - at))
            })
        })
        .collect()
}

fn copy_rows(
    from: &View<4>,
    item: usize,
    head: usize,
    start: usize,
    len: usize,
    to: &mut Vec<f32>,
) {
    let [_, _, _, width] = from.shape();
    let first = item * from.stride(0) + start * from.stride(1) + head * from.stride(2);
    to.clear();
    for row in 0..len {
        let data = &from.data()[first + row * from.stride(1)..];
        match from.stride(3) {
            1 => to.extend_from_slice(&data[..width]),
            stride => to.extend(data.iter().step_by(stride.max(1)).take(width)),
        }
    }
}

fn copy_gates(
    from: &View<3>,
    item: usize,
    head: usize,
    start: usize,
    len: usize,
    to: &mut Vec<f32>,
) {
    let first = item * from.stride(0) + start * from.stride(1) + head * from.stride(2);
    to.clear();
    to.extend((0..len).map(|row| from.data()[first + row * from.stride(1)]));
}

/// `out = scale * lhs rhs`.
pub(super) fn set(
    out: &mut Vec<f32>,
    shape: [usize; 2],
    scale: f32,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
) {
    out.resize(shape[0] * shape[1], 0.0);
    let mut out = MatMut::new(out, shape);
    gemm(&mut out, Update::Set, scale, lhs, rhs, Threads::One);
}

/// `values = from - values`.
fn subtract_from(values: &mut [f32], from: &[f32]) {
    for (value, from) in values.iter_mut().zip(from) {
        *value = from - *value;
    }
}

kernel! {
    /// `e^(log_i - log_j)` on and below the diagonal.
    fn decays_between<'a>(between: &'a mut [f32], logs: &'a [f32]) {
        for (row, between) in between.chunks_exact_mut(logs.len()).enumerate() {
            let (seen, future) = between.split_at_mut(row + 1);
            for (decay, log) in seen.iter_mut().zip(logs) {
                *decay = exp(logs[row] - log);
            }
            future.fill(0.0);
        }
    }
}

/// Multiplies every row by its factor.
pub(super) fn scale_rows(rows: &mut [f32], width: usize, factors: &[f32]) {
    scale(rows, width, factors);
}

/// Multiplies element by element.
pub(super) fn multiply(values: &mut [f32], by: &[f32]) {
    times(values, by);
}

kernel! {
    fn scale<'a>(rows: &'a mut [f32], width: usize, factors: &'a [f32]) {
        for (row, factor) in rows.chunks_exact_mut(width).zip(factors) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

kernel! {
    fn times<'a>(values: &'a mut [f32], by: &'a [f32]) {
        for (value, by) in values.iter_mut().zip(by) {
            *value *= by;
        }
    }
}
