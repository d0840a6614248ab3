//! Gradients of the chunks, from the last to the first: the formulas of `README.md`.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape};

use super::chunk::{Chunk, above, chunks};
use super::chunk_length;
use crate::linear_attention::runs::Runs;
use crate::linear_attention::{LinearAttention, LinearAttentionOptions, UpdateRule};
use crate::product::Times;

/// [`backward`](super::backward) of documents that are known.
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
            let after = match run.end == seq {
                true => after.clone(),
                false => after.zeros_like(),
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

/// Gradients that several products add to.
struct Sums<B: Backend> {
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    state: Tensor<B, 4>,
    /// Of the sum of the logarithms up to each token, in f32, `[batch, heads, len, 1]`.
    logs: Tensor<B, 4>,
}

impl<B: Backend> Sums<B> {
    fn key(&mut self, more: Tensor<B, 4>) {
        self.key = self.key.clone() + more;
    }

    fn state(&mut self, more: Tensor<B, 4>) {
        self.state = self.state.clone() + more;
    }

    /// A gradient of something that each token's sum scales, times that.
    fn scaled(&mut self, product: Tensor<B, 4>) {
        self.logs = self.logs.clone() + product.cast(DType::F32).sum_dim(3);
    }

    /// The same of something that the difference of two tokens' sums scales.
    fn between(&mut self, product: Tensor<B, 4>) {
        let [_, _, len, _] = product.dims();
        // of a token and itself nothing, instead of its difference from itself
        let product = product.mask_fill(above(len, -1, &self.query), 0.0);
        let product = product.cast(DType::F32);
        let columns = product.clone().sum_dim(2).swap_dims(2, 3);
        self.logs = self.logs.clone() + product.sum_dim(3) - columns;
    }
}

impl<B: Backend> Chunk<B> {
    /// The gradient of `state` is that of the state before the chunk.
    fn gradients(
        &self,
        state: Tensor<B, 4>,
        values: Tensor<B, 4>,
        output: Tensor<B, 4>,
        after: Tensor<B, 4>,
        options: LinearAttentionOptions,
    ) -> LinearAttention<B> {
        let decays = &self.decays;
        let (mut sums, mut of_values) = self.through_output(&state, &values, output, options);

        let key = self.key.clone() * decays.to_end.clone();
        let decayed = state.clone() * decays.whole.clone();
        let of_written = key.clone().times(after.clone());
        let mut of_decayed = after.clone();
        let (written, mut of_write, mut of_known) = (values.clone(), None, None);
        let (of_value, written) = match options.rule {
            UpdateRule::ChunkDelta { .. } => {
                let known = key.clone().times(decayed.clone());
                let missing = values.clone() - known.mul_scalar(options.scale);
                let of_missing = of_written.clone() * self.write.clone();
                of_write = Some((of_written * missing.clone()).sum_dim(3));
                of_known = Some(of_missing.clone().mul_scalar(-options.scale));
                (of_values + of_missing, missing * self.write.clone())
            }
            UpdateRule::Additive => (of_values + of_written, written),
            UpdateRule::Delta => {
                of_values = of_values + of_written;
                let (of_value, write) = self.through_system(&state, &values, of_values, &mut sums);
                of_write = Some(write);
                (of_value, written)
            }
        };
        let mut of_key = written.times(after.swap_dims(2, 3));
        if let Some(of_known) = of_known {
            of_key = of_key + of_known.clone().times(decayed.clone().swap_dims(2, 3));
            of_decayed = of_decayed + key.clone().swap_dims(2, 3).times(of_known);
        }
        let to_end = (key * of_key.clone()).cast(DType::F32).sum_dim(3);
        let whole = (decayed * of_decayed.clone()).cast(DType::F32);
        let last = to_end.clone().sum_dim(2) + whole.sum_dim(2).sum_dim(3);
        sums.key(of_key * decays.to_end.clone());
        sums.state(of_decayed * decays.whole.clone());
        let logs = (sums.logs - to_end).flip([2]).cumsum(2).flip([2]) + last;

        let by_token = |tensor: Tensor<B, 4>| tensor.swap_dims(1, 2);
        let gates = |tensor: Tensor<B, 4>| {
            let [batch, heads, len, _] = tensor.dims();
            tensor.reshape([batch, heads, len]).swap_dims(1, 2)
        };
        LinearAttention {
            query: by_token(sums.query),
            key: by_token(sums.key),
            value: by_token(of_value),
            log_decay: gates(logs),
            write: gates(of_write.unwrap_or_else(|| self.write.zeros_like())),
            state: sums.state,
        }
    }

    /// What the output has to say, and of the values.
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
        let of_met = output.clone().times(state.clone().swap_dims(2, 3));
        let scores = self.scores();
        let of_scores = output.clone().times(values.clone().swap_dims(2, 3));
        let of_products = of_scores.clone() * decays.between.clone();
        let [batch, heads, len, _] = met.dims();
        let mut sums = Sums {
            query: of_met.clone() * decays.since_start.clone()
                + of_products.clone().times(self.key.clone()),
            key: of_products.swap_dims(2, 3).times(self.query.clone()),
            state: met.clone().swap_dims(2, 3).times(output.clone()),
            logs: Tensor::zeros(
                Shape::new([batch, heads, len, 1]),
                (&met.device(), DType::F32),
            ),
        };
        sums.scaled(met * of_met);
        sums.between(of_scores * scores.clone());
        (sums, scores.swap_dims(2, 3).times(output))
    }

    /// From the gradient of the solved values to those of the values given and of the strength of the write.
    fn through_system(
        &self,
        state: &Tensor<B, 4>,
        values: &Tensor<B, 4>,
        of_values: Tensor<B, 4>,
        sums: &mut Sums<B>,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let system = self.system(state);
        let of_wanted = system.solve_transposed(of_values);
        let of_lower = of_wanted
            .clone()
            .times(values.clone().swap_dims(2, 3))
            .neg();
        let of_missing = of_wanted.clone() * self.write.clone();
        let of_write = (of_wanted * system.missing.clone()).sum_dim(3)
            + (of_lower.clone() * system.products.clone()).sum_dim(3);

        let of_met = of_missing
            .clone()
            .times(state.clone().swap_dims(2, 3))
            .neg();
        sums.state(
            system
                .met
                .clone()
                .swap_dims(2, 3)
                .times(of_missing.clone())
                .neg(),
        );
        sums.key(of_met.clone() * self.decays.since_start.clone());
        sums.scaled(system.met * of_met);

        sums.between(of_lower.clone() * system.lower);
        let [_, _, len, _] = of_lower.dims();
        let of_products = of_lower * self.decays.between.clone() * self.write.clone();
        let of_products = of_products.mask_fill(above(len, -1, &self.key), 0.0);
        let both = of_products.clone() + of_products.swap_dims(2, 3);
        sums.key(both.times(self.key.clone()));
        (of_missing, of_write)
    }
}
