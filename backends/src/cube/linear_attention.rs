//! Linear attention as operations of the stream, forward and backward.

use burn::tensor::Tensor;
use burn_fusion::{Fusion, FusionBackend};

use super::stream::{Inputs, Streamed, append, append_several, floats};
use crate::attention::AttentionMask;
use crate::autodiff::{primitive, wrap};
use crate::linear_attention::{LinearAttention, LinearAttentionOptions, chunked, runs};

/// See [`ByHand::forward`](crate::linear_attention::ByHand::forward).
pub(super) fn forward<B: FusionBackend>(
    input: LinearAttention<Fusion<B>>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<Fusion<B>>,
) -> Tensor<Fusion<B>, 4> {
    let [batch, seq, heads, key_dim] = input.key.dims();
    let [_, _, _, value_dim] = input.value.dims();
    let output = (
        [batch, heads, seq + key_dim, value_dim],
        input.query.dtype(),
    );
    let runs = runs(mask);
    let inputs = streamed(input).into();
    let packed = append::<B, 4>("linear_attention", inputs, output, move |inputs| {
        floats(chunked::forward_of(below(inputs), options, runs.as_ref()))
    });
    wrap(packed)
}

/// See [`ByHand::backward`](crate::linear_attention::ByHand::backward).
pub(super) fn backward<B: FusionBackend>(
    input: LinearAttention<Fusion<B>>,
    options: LinearAttentionOptions,
    mask: &AttentionMask<Fusion<B>>,
    grad: Tensor<Fusion<B>, 4>,
) -> LinearAttention<Fusion<B>> {
    let runs = runs(mask);
    let inputs = streamed(input);
    let outputs = inputs.each_ref().map(|it| (it.shape.clone(), it.dtype));
    let inputs = inputs.into_iter().chain([primitive(grad)]).collect();
    let name = "linear_attention_backward";
    let grads = append_several::<B, 6>(name, inputs, outputs, move |inputs| {
        let (input, grad) = (below(inputs), inputs.floats());
        let grads = chunked::backward_of(input, options, runs.as_ref(), grad);
        let [query, key, value, state] =
            [grads.query, grads.key, grads.value, grads.state].map(floats);
        let [log_decay, write] = [grads.log_decay, grads.write].map(floats);
        [query, key, value, log_decay, write, state]
    });
    let [query, key, value, log_decay, write, state] = grads;
    LinearAttention {
        query: wrap(query),
        key: wrap(key),
        value: wrap(value),
        log_decay: wrap(log_decay),
        write: wrap(write),
        state: wrap(state),
    }
}

/// The tensors in the order of the fields.
fn streamed<B: FusionBackend>(input: LinearAttention<Fusion<B>>) -> [Streamed<B>; 6] {
    [
        primitive(input.query),
        primitive(input.key),
        primitive(input.value),
        primitive(input.log_decay),
        primitive(input.write),
        primitive(input.state),
    ]
}

/// Reads the tensors from the inputs.
fn below<B: FusionBackend>(inputs: &mut Inputs<'_, B>) -> LinearAttention<B> {
    LinearAttention {
        query: inputs.floats(),
        key: inputs.floats(),
        value: inputs.floats(),
        log_decay: inputs.floats(),
        write: inputs.floats(),
        state: inputs.floats(),
    }
}
