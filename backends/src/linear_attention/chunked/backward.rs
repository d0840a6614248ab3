//! Backward pass over the chunks, from the last to the first, by the formulas of `README.md`.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::chunk::{Chunk, above, chunks};
use super::chunk_length;
use crate::linear_attention::runs::Runs;
use crate::linear_attention::{LinearAttention, LinearAttentionOptions, UpdateRule};
use crate::product::Times;

/// [`backward`](super::backward) with known documents.
pub(crate) fn backward_of<B: Backend>(
    input: LinearAttention<B>,
    options: LinearAttentionOptions,
    runs: Option<&Runs>,
    grad: Tensor<B, 4>,
) -> LinearAttention<B> {
    let [_, seq, _, key_dim] = input.key.dims();
    let output = grad.clone().narrow(2, 0, seq);
    let after = grad.narrow(2, seq, key_dim);
    let Some(rows) = runs else {
        return of_document(input, options, output, after);
    };
    let mut all = Vec::with_capacity(rows.len());
    for (item, row) in rows.iter().enumerate() {
        let after = after.clone().narrow(0, item, 1);
        let mut documents = Vec::with_capacity(row.len());
        for run in row {
            let output = output.clone().narrow(0, item, 1);
            let output = output.narrow(2, run.start, run.len());
            let after = if run.end == seq {
                after.clone()
            } else {
                after.zeros_like()
            };
            documents.push(of_document(
                input.document(item, run),
                options,
                output,
                after,
            ));
        }
        let state = documents[0].state.clone();
        all.push(LinearAttention::join(&documents, 1, state));
    }
    let states = all.iter().map(|row| row.state.clone()).collect();
    LinearAttention::join(&all, 0, Tensor::cat(states, 0))
}

fn of_document<B: Backend>(
    document: LinearAttention<B>,
    options: LinearAttentionOptions,
    output: Tensor<B, 4>,
    after: Tensor<B, 4>,
) -> LinearAttention<B> {
    let length = chunk_length(options.rule);
    let mut state = document.state.clone();
    let mut passed = Vec::new();
    for chunk in chunks(&document, length) {
        let values = chunk.values(&state, options.rule);
        let next = chunk.hand_on(state.clone(), values.clone(), options);
        passed.push((chunk, std::mem::replace(&mut state, next), values));
    }
    let mut end = output.dims()[2];
    let mut state = after;
    let mut parts = Vec::with_capacity(passed.len());
    for (chunk, before, values) in passed.into_iter().rev() {
        let [_, _, len, _] = chunk.key.dims();
        end -= len;
        let output = output.clone().narrow(2, end, len);
        let part = chunk.gradients(before, values, output, state, options);
        state = part.state.clone();
        parts.push(part);
    }
    parts.reverse();
    let joined = LinearAttention::join(&parts, 1, state);
    LinearAttention {
        log_decay: joined.log_decay.cast(document.log_decay.dtype()),
        ..joined
    }
}

/// Gradients that are accumulated over several products, `[batch, heads, len, _]`.
struct Sums<B: Backend> {
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    state: Tensor<B, 4>,
    /// Gradient of each token's cumulative log decay, in f32, `[batch, heads, len, 1]`.
    logs: Tensor<B, 4>,
    /// Extra gradient of the chunk's final cumulative log decay, `[batch, heads, 1, 1]`.
    whole: Tensor<B, 4>,
}

impl<B: Backend> Sums<B> {
    fn add_key(&mut self, more: Tensor<B, 4>) {
        self.key = self.key.clone() + more;
    }

    fn add_state(&mut self, more: Tensor<B, 4>) {
        self.state = self.state.clone() + more;
    }

    /// Adds the log-decay gradient of a quantity that is scaled by the decay from the start to each token; `product`
    /// is the quantity times its gradient.
    fn scaled_since_start(&mut self, product: Tensor<B, 4>) {
        self.logs = self.logs.clone() + product.cast(DType::F32).sum_dim(3);
    }

    /// Adds the log-decay gradient of a quantity that is scaled by the decay between two tokens.
    fn scaled_between(&mut self, product: Tensor<B, 4>) {
        let [_, _, len, _] = product.dims();
        // the diagonal is masked, since the decay from a token to itself is constant
        let product = product.mask_fill(above(len, -1, &self.query), 0.0);
        let product = product.cast(DType::F32);
        let columns = product.clone().sum_dim(2).swap_dims(2, 3);
        self.logs = self.logs.clone() + product.sum_dim(3) - columns;
    }

    /// Adds the log-decay gradient of a quantity that is scaled by the decay from each token to the end.
    fn scaled_to_end(&mut self, product: Tensor<B, 4>) {
        let product = product.cast(DType::F32).sum_dim(3);
        self.scaled_by_whole(product.clone());
        self.logs = self.logs.clone() - product;
    }

    /// Adds the log-decay gradient of a quantity that is scaled by the decay over the whole chunk.
    fn scaled_by_whole(&mut self, product: Tensor<B, 4>) {
        let product = product.cast(DType::F32).sum_dim(3);
        self.whole = self.whole.clone() + product.sum_dim(2);
    }

    /// Combines the sums with the gradients of values and write strengths, in the layout of the inputs.
    fn joined(self, value: Tensor<B, 4>, write: Tensor<B, 4>) -> LinearAttention<B> {
        let by_token = |tensor: Tensor<B, 4>| tensor.swap_dims(1, 2);
        let gates = |tensor: Tensor<B, 4>| {
            let [batch, heads, len, _] = tensor.dims();
            tensor.reshape([batch, heads, len]).swap_dims(1, 2)
        };
        // a token's log decay is part of the cumulative sum of every token from it on
        let log_decay = self.logs.flip([2]).cumsum(2).flip([2]) + self.whole;
        LinearAttention {
            query: by_token(self.query),
            key: by_token(self.key),
            value: by_token(value),
            log_decay: gates(log_decay),
            write: gates(write),
            state: self.state,
        }
    }
}

impl<B: Backend> Chunk<B> {
    /// Gradients of the chunk's inputs; `state` of the result is the gradient of the state before the chunk.
    fn gradients(
        &self,
        state: Tensor<B, 4>,
        values: Tensor<B, 4>,
        output: Tensor<B, 4>,
        after: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> LinearAttention<B> {
        let (mut sums, of_output) = self.through_output(&state, &values, output, options);
        let (of_next, write) = self.through_next(&state, &values, after, options, &mut sums);
        let of_values = of_output + of_next;
        let (value, write) = match options.rule {
            UpdateRule::Additive | UpdateRule::ChunkDelta { .. } => (of_values, write),
            UpdateRule::Delta => self.through_system(&state, &values, of_values, &mut sums),
        };
        sums.joined(value, write)
    }

    /// Gradient of the values, from that of the output.
    fn through_output(
        &self,
        state: &Tensor<B, 4>,
        values: &Tensor<B, 4>,
        output: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> (Sums<B>, Tensor<B, 4>) {
        let decays = &self.decays;
        let output = output.mul_scalar(options.scale);
        let met = self.query.clone() * decays.since_start.clone();
        let of_met = output.clone().times(transposed(state));
        let scores = self.scores();
        let of_scores = output.clone().times(transposed(values));
        let of_products = of_scores.clone() * decays.between.clone();
        let of_query = of_met.clone() * decays.since_start.clone();
        let logs = self.write.zeros_like().cast(DType::F32);
        let mut sums = Sums {
            whole: logs.clone().narrow(2, 0, 1),
            logs,
            query: of_query + of_products.clone().times(self.key.clone()),
            key: transposed(&of_products).times(self.query.clone()),
            state: transposed(&met).times(output.clone()),
        };
        sums.scaled_since_start(met * of_met);
        sums.scaled_between(of_scores * scores.clone());
        (sums, transposed(&scores).times(output))
    }

    /// Gradients of the values and write strengths, from that of the state after the chunk.
    fn through_next(
        &self,
        state: &Tensor<B, 4>,
        values: &Tensor<B, 4>,
        after: Tensor<B, 4>,
        options: LinearAttentionOptions,
        sums: &mut Sums<B>,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let decays = &self.decays;
        let key = self.key.clone() * decays.to_end.clone();
        let decayed = state.clone() * decays.whole.clone();
        let of_written = key.clone().times(after.clone());
        let (of_values, of_write, of_key, of_decayed) = match options.rule {
            UpdateRule::Additive | UpdateRule::Delta => {
                let of_key = values.clone().times(transposed(&after));
                (of_written, self.write.zeros_like(), of_key, after)
            }
            UpdateRule::ChunkDelta { .. } => {
                let known = key.clone().times(decayed.clone());
                let missing = values.clone() - known.mul_scalar(options.scale);
                let of_missing = of_written.clone() * self.write.clone();
                let of_known = of_missing.clone().mul_scalar(-options.scale);
                let written = missing.clone() * self.write.clone();
                let of_key = written.times(transposed(&after))
                    + of_known.clone().times(transposed(&decayed));
                let of_decayed = after + transposed(&key).times(of_known);
                let of_write = (of_written * missing).sum_dim(3);
                (of_missing, of_write, of_key, of_decayed)
            }
        };
        sums.scaled_to_end(key * of_key.clone());
        sums.scaled_by_whole(decayed * of_decayed.clone());
        sums.add_key(of_key * decays.to_end.clone());
        sums.add_state(of_decayed * decays.whole.clone());
        (of_values, of_write)
    }

    /// Gradients of the original values and write strengths, from that of the solved values.
    fn through_system(
        &self,
        state: &Tensor<B, 4>,
        values: &Tensor<B, 4>,
        of_values: Tensor<B, 4>,
        sums: &mut Sums<B>,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let decays = &self.decays;
        let system = self.system(state);
        let of_wanted = system.solve_transposed(of_values);
        let of_lower = of_wanted.clone().times(transposed(values)).neg();
        let of_missing = of_wanted.clone() * self.write.clone();
        let of_write = (of_wanted * system.missing.clone()).sum_dim(3)
            + (of_lower.clone() * system.products.clone()).sum_dim(3);

        let of_known = of_missing.clone().neg();
        let of_met = of_known.clone().times(transposed(state));
        sums.add_state(transposed(&system.met).times(of_known));
        sums.add_key(of_met.clone() * decays.since_start.clone());
        sums.scaled_since_start(system.met * of_met);

        let [_, _, len, _] = of_lower.dims();
        let of_products = of_lower.clone() * decays.between.clone() * self.write.clone();
        let of_products = of_products.mask_fill(above(len, -1, &self.key), 0.0);
        sums.add_key(of_products.clone().times(self.key.clone()));
        sums.add_key(transposed(&of_products).times(self.key.clone()));
        sums.scaled_between(of_lower * system.lower);
        (of_missing, of_write)
    }
}

fn transposed<B: Backend>(matrices: &Tensor<B, 4>) -> Tensor<B, 4> {
    matrices.clone().swap_dims(2, 3)
}
