//! Every expert processes only its own tokens: the host sorts assignments by expert, and the device runs one matrix
//! product per expert and projection. Works on any backend.

use std::sync::Arc;

use burn::tensor::activation::{sigmoid, silu};
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use crate::linear::reference::linear_transposed;
use crate::product::Times;

use super::{Dispatch, Gradients, Needed, Projections, Saved};

/// See [`Ops::experts`](crate::Ops::experts).
pub fn experts<B: Backend>(
    input: Tensor<B, 2>,
    projections: Projections<B>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let dispatch = sorted(indices, &projections);
    forward(input, &projections, &dispatch, weights, |_, _| ())
}

/// See [`Ops::experts_saving`](crate::Ops::experts_saving).
pub fn experts_saving<B: Backend>(
    input: Tensor<B, 2>,
    projections: Projections<B>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> (Tensor<B, 2>, Saved<B>) {
    let dispatch = sorted(indices, &projections);
    let (mut gate_products, mut up_products) = (Vec::new(), Vec::new());
    let output = forward(
        input.clone(),
        &projections,
        &dispatch,
        weights.clone(),
        |gate, up| {
            gate_products.push(gate);
            up_products.push(up);
        },
    );
    let [_, _, width] = projections.gate.dims();
    let all = |products: Vec<Tensor<B, 2>>| {
        if products.is_empty() {
            Tensor::empty([0, width], (&input.device(), input.dtype()))
        } else {
            Tensor::cat(products, 0)
        }
    };
    let saved = Saved {
        gate_product: all(gate_products),
        up_product: all(up_products),
        dispatch: Arc::new(dispatch),
        input,
        projections,
        weights,
    };
    (output, saved)
}

/// See [`Ops::experts_backward`](crate::Ops::experts_backward).
pub fn experts_backward<B: Backend>(
    saved: Saved<B>,
    grad: Tensor<B, 2>,
    needed: Needed,
) -> Gradients<B> {
    let Saved {
        input,
        projections,
        weights,
        dispatch,
        gate_product,
        up_product,
    } = saved;
    let [tokens, k] = weights.dims();
    let [_, _, width] = projections.gate.dims();
    let flat_weights = weights.clone().reshape([tokens * k]);

    let mut rows = Vec::new();
    let mut slots = Vec::new();
    let (mut input_grads, mut weight_grads) = (Vec::new(), Vec::new());
    let (mut gates, mut ups, mut downs) = (Vec::new(), Vec::new(), Vec::new());
    for expert in 0..dispatch.experts() {
        let positions = dispatch.positions(expert);
        if positions.is_empty() {
            gates.push(expert_of(&projections.gate, expert).zeros_like());
            ups.push(expert_of(&projections.up, expert).zeros_like());
            downs.push(expert_of(&projections.down, expert).zeros_like());
            continue;
        }
        let own_rows = positions_on(&input, dispatch.tokens(expert));
        let own_slots = positions_on(&input, dispatch.slots(expert).iter().copied());
        let weight = gates_of(&flat_weights, own_slots.clone(), width);
        let grad = grad.clone().select(0, own_rows.clone());
        let gate = gate_product
            .clone()
            .narrow(0, positions.start, positions.len());
        let up = up_product
            .clone()
            .narrow(0, positions.start, positions.len());

        // `dy D^T`, before the gate weight is applied.
        let unweighted = linear_transposed(grad.clone(), expert_of(&projections.down, expert));
        let open = sigmoid(gate.clone());
        let silu = gate * open.clone();
        let inner = silu.clone() * up.clone();
        let inner_grad = unweighted.clone() * weight.clone();
        let up_grad = inner_grad.clone() * silu.clone();
        let gate_grad = inner_grad * up * (open.clone() + silu * open.neg().add_scalar(1.0));

        if needed.weights {
            weight_grads.push((unweighted * inner.clone()).sum_dim(1).squeeze_dim(1));
        }
        if needed.projections {
            let chosen = input.clone().select(0, own_rows.clone()).transpose();
            gates.push(chosen.clone().times(gate_grad.clone()));
            ups.push(chosen.times(up_grad.clone()));
            downs.push((inner * weight).transpose().times(grad));
        }
        if needed.input {
            input_grads.push(
                linear_transposed(gate_grad, expert_of(&projections.gate, expert))
                    + linear_transposed(up_grad, expert_of(&projections.up, expert)),
            );
        }
        rows.push(own_rows);
        slots.push(own_slots);
    }

    Gradients {
        input: needed
            .input
            .then(|| add_rows(input.zeros_like(), rows, input_grads)),
        projections: needed.projections.then(|| Projections {
            gate: Tensor::stack(gates, 0),
            up: Tensor::stack(ups, 0),
            down: Tensor::stack(downs, 0),
        }),
        weights: needed
            .weights
            .then(|| add_rows(flat_weights.zeros_like(), slots, weight_grads).reshape([tokens, k])),
    }
}

/// Output of all experts. `keep` receives the gate and up product of each expert with tokens.
fn forward<B: Backend>(
    input: Tensor<B, 2>,
    projections: &Projections<B>,
    dispatch: &Dispatch,
    weights: Tensor<B, 2>,
    mut keep: impl FnMut(Tensor<B, 2>, Tensor<B, 2>),
) -> Tensor<B, 2> {
    let [tokens, k] = weights.dims();
    let [_, hidden] = input.dims();
    let flat_weights = weights.reshape([tokens * k]);
    let (mut rows, mut outputs) = (Vec::new(), Vec::new());
    for expert in (0..dispatch.experts()).filter(|expert| !dispatch.slots(*expert).is_empty()) {
        let own_rows = positions_on(&input, dispatch.tokens(expert));
        let slots = positions_on(&input, dispatch.slots(expert).iter().copied());
        let chosen = input.clone().select(0, own_rows.clone());
        let gate = chosen.clone().times(expert_of(&projections.gate, expert));
        let up = chosen.times(expert_of(&projections.up, expert));
        keep(gate.clone(), up.clone());
        let output = (silu(gate) * up).times(expert_of(&projections.down, expert));
        outputs.push(output * gates_of(&flat_weights, slots, hidden));
        rows.push(own_rows);
    }
    add_rows(input.zeros_like(), rows, outputs)
}

/// Sorts the choices by expert, on the host.
fn sorted<B: Backend>(indices: Tensor<B, 2, Int>, projections: &Projections<B>) -> Dispatch {
    let [_, k] = indices.dims();
    let [experts, _, _] = projections.gate.dims();
    let index = |value: i64| usize::try_from(value).expect("an index is not negative");
    let chosen: Vec<usize> = indices.into_data().iter::<i64>().map(index).collect();
    Dispatch::new(&chosen, experts, k)
}

/// Matrix of one expert.
fn expert_of<B: Backend>(stack: &Tensor<B, 3>, expert: usize) -> Tensor<B, 2> {
    let [_, rows, cols] = stack.dims();
    stack.clone().narrow(0, expert, 1).reshape([rows, cols])
}

/// Gates at some slots, each repeated over a row of `width`.
///
/// They are repeated before they are selected, because burn-fusion 0.21 broadcasts a column wrongly if it was
/// gathered in the same kernel.
fn gates_of<B: Backend>(
    flat_weights: &Tensor<B, 1>,
    slots: Tensor<B, 1, Int>,
    width: usize,
) -> Tensor<B, 2> {
    let [assignments] = flat_weights.dims();
    let column = flat_weights.clone().reshape([assignments, 1]);
    column.expand([assignments, width]).select(0, slots)
}

/// Positions as a tensor on the device of `like`.
fn positions_on<B: Backend>(
    like: &Tensor<B, 2>,
    positions: impl ExactSizeIterator<Item = usize>,
) -> Tensor<B, 1, Int> {
    let count = positions.len();
    let positions: Vec<i64> = positions.map(|position| position as i64).collect();
    Tensor::from_data(TensorData::new(positions, [count]), &like.device())
}

/// Adds every row of `values` to the row of the output that `rows` names.
fn add_rows<B: Backend, const D: usize>(
    zeros: Tensor<B, D>,
    rows: Vec<Tensor<B, 1, Int>>,
    values: Vec<Tensor<B, D>>,
) -> Tensor<B, D> {
    if values.is_empty() {
        return zeros;
    }
    zeros.select_assign(
        0,
        Tensor::cat(rows, 0),
        Tensor::cat(values, 0),
        IndexingUpdateOp::Add,
    )
}
