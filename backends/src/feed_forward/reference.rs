//! Reference implementation: one operation after the other.

use burn::tensor::Tensor;

use super::{Gated, Routed};
use crate::weight::Weight;
use crate::{Ops, experts, quantized};

/// See [`Ops::feed_forward`].
pub fn feed_forward<B: Ops>(
    input: Tensor<B, 2>,
    routed: Option<Routed<B>>,
    shared: Option<Gated<B, 2>>,
) -> Tensor<B, 2> {
    let chosen = routed.map(|routed| visit_experts(input.clone(), routed));
    let shared = shared.map(|shared| swiglu(input.clone(), shared));
    match (chosen, shared) {
        (Some(chosen), Some(shared)) => chosen + shared,
        (Some(output), None) | (None, Some(output)) => output,
        (None, None) => input.zeros_like(),
    }
}

/// Output of the routed experts.
fn visit_experts<B: Ops>(input: Tensor<B, 2>, routed: Routed<B>) -> Tensor<B, 2> {
    let Routed {
        experts,
        indices,
        weights,
    } = routed;
    if let (Weight::Blocks(gate), Weight::Blocks(up), Weight::Blocks(down)) =
        (&experts.gate, &experts.up, &experts.down)
    {
        let [gate, up, down] = [gate, up, down].map(Clone::clone);
        let projections = quantized::Projections { gate, up, down };
        return B::experts_quantized(input, projections, indices, weights);
    }
    let dtype = input.dtype();
    let numbers = |weight: Weight<B, 3>| match weight {
        Weight::Dense(weight) => weight,
        blocks => blocks.numbers().cast(dtype),
    };
    let projections = experts::Projections {
        gate: numbers(experts.gate),
        up: numbers(experts.up),
        down: numbers(experts.down),
    };
    B::experts(input, projections, indices, weights)
}

/// `(silu(x G) * (x U)) D`.
fn swiglu<B: Ops>(input: Tensor<B, 2>, weights: Gated<B, 2>) -> Tensor<B, 2> {
    let gate = weights.gate.project(input.clone());
    let up = weights.up.project(input);
    weights.down.project(B::swiglu(gate, up))
}
