//! One chunk, with the notation of `README.md`.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Tensor};

use crate::linear_attention::{LinearAttention, LinearAttentionOptions, UpdateRule};
use crate::product::Times;

/// Inputs of some tokens, with heads before tokens: `[batch, heads, len, _]` each.
pub(super) struct Chunk<B: Backend> {
    pub(super) query: Tensor<B, 4>,
    pub(super) key: Tensor<B, 4>,
    pub(super) value: Tensor<B, 4>,
    /// `[batch, heads, len, 1]`.
    pub(super) write: Tensor<B, 4>,
    pub(super) decays: Decays<B>,
}

/// Decays within a chunk.
pub(super) struct Decays<B: Backend> {
    /// Decay from the start of the chunk through each token, `[batch, heads, len, 1]`.
    pub(super) since_start: Tensor<B, 4>,
    /// Decay from each token to the end of the chunk, `[batch, heads, len, 1]`.
    pub(super) to_end: Tensor<B, 4>,
    /// Decay over the whole chunk, `[batch, heads, 1, 1]`.
    pub(super) whole: Tensor<B, 4>,
    /// Decay from each token (column) to each later one or itself (row), else zero, `[batch, heads, len, len]`.
    pub(super) between: Tensor<B, 4>,
}

/// The triangular system of the delta rule, `(I + lower) values = write * missing`.
pub(super) struct System<B: Backend> {
    /// Keys, decayed from the start of the chunk, `[batch, heads, len, key_dim]`.
    pub(super) met: Tensor<B, 4>,
    /// Values minus the state's prediction of them, `[batch, heads, len, value_dim]`.
    pub(super) missing: Tensor<B, 4>,
    /// Decayed products of the keys below the diagonal, `[batch, heads, len, len]`.
    pub(super) products: Tensor<B, 4>,
    /// `products`, times the write strength of each row.
    pub(super) lower: Tensor<B, 4>,
}

/// Splits a document into chunks of `length` tokens; the last one may be shorter.
pub(super) fn chunks<B: Backend>(
    document: &LinearAttention<B>,
    length: usize,
) -> impl DoubleEndedIterator<Item = Chunk<B>> {
    let [_, seq, _, _] = document.key.dims();
    let by_head = |tensor: &Tensor<B, 4>| tensor.clone().swap_dims(1, 2);
    let gates = |tensor: &Tensor<B, 3>| by_head(&tensor.clone().unsqueeze_dim(3));
    let [query, key, value] = [&document.query, &document.key, &document.value].map(by_head);
    let [log_decay, write] = [&document.log_decay, &document.write].map(gates);
    (0..seq.div_ceil(length)).map(move |at| {
        let (start, len) = (at * length, length.min(seq - at * length));
        let of = |tensor: &Tensor<B, 4>| tensor.clone().narrow(2, start, len);
        Chunk {
            query: of(&query),
            key: of(&key),
            value: of(&value),
            write: of(&write),
            decays: Decays::new(of(&log_decay), key.dtype()),
        }
    })
}

impl<B: Backend> Decays<B> {
    fn new(logs: Tensor<B, 4>, dtype: DType) -> Self {
        let [_, _, len, _] = logs.dims();
        let sums = logs.cast(DType::F32).cumsum(2);
        // negated, so that the operands have their own memory: libtorch may write a difference over its operands
        let of_column = sums.clone().neg().swap_dims(2, 3);
        let between = (sums.clone() + of_column).mask_fill(above(len, 0, &sums), f32::NEG_INFINITY);
        let whole = sums.clone().narrow(2, len - 1, 1);
        let to_end = whole.clone() - sums.clone();
        let [since_start, to_end, whole, between] =
            [sums, to_end, whole, between].map(|logs| logs.exp().cast(dtype));
        Self {
            since_start,
            to_end,
            whole,
            between,
        }
    }
}

/// True above the diagonal with the given offset, `[1, 1, len, len]`.
pub(super) fn above<B: Backend>(
    len: usize,
    offset: i64,
    like: &Tensor<B, 4>,
) -> Tensor<B, 4, Bool> {
    Tensor::<B, 2, Bool>::tril_mask([len, len], offset, &like.device()).unsqueeze()
}

impl<B: Backend> Chunk<B> {
    /// Values that the tokens add to the state, as later tokens of the chunk see it.
    pub(super) fn values(&self, state: &Tensor<B, 4>, rule: UpdateRule) -> Tensor<B, 4> {
        match rule {
            UpdateRule::Additive | UpdateRule::ChunkDelta { .. } => self.value.clone(),
            UpdateRule::Delta => {
                let system = self.system(state);
                system.solve(system.missing.clone() * self.write.clone())
            }
        }
    }

    pub(super) fn system(&self, state: &Tensor<B, 4>) -> System<B> {
        let [_, _, len, _] = self.key.dims();
        let met = self.key.clone() * self.decays.since_start.clone();
        let known = met.clone().times(state.clone());
        let products = self.key.clone().times(self.key.clone().swap_dims(2, 3));
        let products = products * self.decays.between.clone();
        let products = products.mask_fill(above(len, -1, &self.key), 0.0);
        System {
            met,
            missing: self.value.clone() - known,
            lower: products.clone() * self.write.clone(),
            products,
        }
    }

    /// Decayed products of queries and keys.
    pub(super) fn scores(&self) -> Tensor<B, 4> {
        let products = self.query.clone().times(self.key.clone().swap_dims(2, 3));
        products * self.decays.between.clone()
    }

    pub(super) fn output(
        &self,
        state: &Tensor<B, 4>,
        values: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> Tensor<B, 4> {
        let met = self.query.clone() * self.decays.since_start.clone();
        let read = self.scores().times(values) + met.times(state.clone());
        read.mul_scalar(options.scale)
    }

    /// State after the chunk.
    pub(super) fn hand_on(
        &self,
        state: Tensor<B, 4>,
        values: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> Tensor<B, 4> {
        let key = self.key.clone() * self.decays.to_end.clone();
        let decayed = state * self.decays.whole.clone();
        let written = match options.rule {
            UpdateRule::Additive | UpdateRule::Delta => values,
            UpdateRule::ChunkDelta { .. } => {
                let known = key.clone().times(decayed.clone());
                (values - known.mul_scalar(options.scale)) * self.write.clone()
            }
        };
        decayed + key.swap_dims(2, 3).times(written)
    }
}

impl<B: Backend> System<B> {
    /// Solves `(I + lower) U = wanted`, from the first row on.
    pub(super) fn solve(&self, wanted: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, len, _] = wanted.dims();
        let mut solved = wanted.clone().narrow(2, 0, 1);
        for row in 1..len {
            let before = self.lower.clone().narrow(2, row, 1).narrow(3, 0, row);
            let next = wanted.clone().narrow(2, row, 1) - before.times(solved.clone());
            solved = Tensor::cat(vec![solved, next], 2);
        }
        solved
    }

    /// Solves `(I + lower)^T W = wanted`, from the last row on.
    pub(super) fn solve_transposed(&self, wanted: Tensor<B, 4>) -> Tensor<B, 4> {
        let [_, _, len, _] = wanted.dims();
        let mut solved = wanted.clone().narrow(2, len - 1, 1);
        for row in (0..len - 1).rev() {
            let behind = self.lower.clone().narrow(3, row, 1);
            let behind = behind.narrow(2, row + 1, len - 1 - row).swap_dims(2, 3);
            let next = wanted.clone().narrow(2, row, 1) - behind.times(solved.clone());
            solved = Tensor::cat(vec![next, solved], 2);
        }
        solved
    }
}
