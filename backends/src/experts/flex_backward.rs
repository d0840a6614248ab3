//! Backward pass of the [flex form](super::flex), with the same tasks.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::flex::{Scratch, Stacks, combine, expert_of, flat, gather, run, take};
use super::{Gradients, Needed, Projections, Saved};
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, rows_per_task, tensor};
use crate::flex::simd::{dot, kernel, sigmoid};
use crate::flex::team;

/// Backward pass of one expert. Slices of gradients that are not needed are empty.
struct Backward<'a> {
    expert: usize,
    count: usize,
    input: &'a mut [f32],
    gate: &'a mut [f32],
    up: &'a mut [f32],
    down: &'a mut [f32],
    weights: &'a mut [f32],
}

/// See [`Ops::experts_backward`](crate::Ops::experts_backward).
pub(crate) fn experts_backward(
    saved: Saved<Flex>,
    grad: Tensor<Flex, 2>,
    needed: Needed,
) -> Gradients<Flex> {
    let dispatch = &*saved.dispatch;
    let [tokens, hidden] = saved.input.dims();
    let [_, k] = saved.weights.dims();
    let [experts, _, width] = saved.projections.gate.dims();
    let stacks = Stacks::new(&saved.projections);
    let (input, grad) = (View::rows(saved.input), View::rows(grad));
    let (gate_product, up_product) = (View::rows(saved.gate_product), View::rows(saved.up_product));
    let gates = flat(&saved.weights);

    let when = |needed: bool, len: usize| vec![0.0; if needed { len } else { 0 }];
    let mut d_input = when(needed.input, dispatch.len() * hidden);
    let mut d_weights = vec![0.0; dispatch.len()];
    let [mut d_gate, mut d_up, mut d_down] =
        [(); 3].map(|()| when(needed.projections, experts * hidden * width));

    let mut rests = (&mut d_input[..], &mut d_weights[..]);
    let mut stack_rests = [&mut d_gate[..], &mut d_up[..], &mut d_down[..]];
    let mut tasks = Vec::with_capacity(experts);
    for expert in 0..experts {
        let count = dispatch.slots(expert).len();
        let matrix = if needed.projections {
            hidden * width
        } else {
            0
        };
        let [gate, up, down] = stack_rests.each_mut().map(|rest| take(rest, matrix));
        let rows = if needed.input { count * hidden } else { 0 };
        let task = Backward {
            expert,
            count,
            input: take(&mut rests.0, rows),
            gate,
            up,
            down,
            weights: take(&mut rests.1, count),
        };
        if count > 0 {
            tasks.push(task);
        }
    }
    run(tasks, dispatch, |task, scratch: &mut Scratch, threads| {
        let Backward {
            expert,
            count,
            input: d_input,
            gate,
            up,
            down,
            weights,
        } = task;
        let Scratch {
            rows,
            grads,
            inner,
            inner_grad,
        } = scratch;
        gather(grads, grad.matrix(), dispatch.tokens(expert), hidden);
        let dy = MatRef::new(grads, [count, hidden]);

        // `dy D^T`, the gradient of the inner activation before its gate weight; later overwritten by that of the up
        // product.
        inner_grad.resize(count * width, 0.0);
        let down_t = expert_of(&stacks.down, expert).transposed();
        let mut product = MatMut::new(inner_grad, [count, width]);
        gemm(&mut product, Update::Set, 1.0, dy, down_t, threads);

        // The weighted inner activation, followed by the gradient of the gate product.
        inner.resize(2 * count * width, 0.0);
        let (inner, gate_grad) = inner.split_at_mut(count * width);
        let own = dispatch.positions(expert);
        let [own_gate, own_up] = [&gate_product, &up_product]
            .map(|product| &product.data()[own.start * width..own.end * width]);
        let slots = dispatch.slots(expert);
        let piece = match threads {
            Threads::One => count,
            Threads::All => rows_per_task(width),
        };
        let pieces = inner
            .chunks_mut(piece * width)
            .zip(gate_grad.chunks_mut(piece * width))
            .zip(inner_grad.chunks_mut(piece * width))
            .zip(weights.chunks_mut(piece));
        let sources = own_gate
            .chunks(piece * width)
            .zip(own_up.chunks(piece * width))
            .zip(slots.chunks(piece));
        let differentiate = |((((inner, gate_grad), inner_grad), weight_grad), source)| {
            let ((gate, up), slots) = source;
            let outputs = [inner, gate_grad, inner_grad];
            differentiate(outputs, weight_grad, [gate, up], slots, &gates);
        };
        match threads {
            Threads::One => pieces.zip(sources).for_each(differentiate),
            Threads::All => {
                let tasks = pieces.zip(sources).collect();
                team::each(tasks, || (), |(), task| differentiate(task));
            }
        }
        let [inner, gate_grad, up_grad] =
            [&*inner, &*gate_grad, &*inner_grad].map(|of| MatRef::new(of, [count, width]));

        if needed.projections {
            gather(rows, input.matrix(), dispatch.tokens(expert), hidden);
            let x = MatRef::new(rows, [count, hidden]).transposed();
            let set = |out: &mut [f32], shape, lhs, rhs| {
                gemm(
                    &mut MatMut::new(out, shape),
                    Update::Set,
                    1.0,
                    lhs,
                    rhs,
                    threads,
                );
            };
            set(gate, [hidden, width], x, gate_grad);
            set(up, [hidden, width], x, up_grad);
            set(down, [width, hidden], inner.transposed(), dy);
        }
        if needed.input {
            let mut out = MatMut::new(d_input, [count, hidden]);
            let gate_t = expert_of(&stacks.gate, expert).transposed();
            let up_t = expert_of(&stacks.up, expert).transposed();
            gemm(&mut out, Update::Set, 1.0, gate_grad, gate_t, threads);
            gemm(&mut out, Update::Add, 1.0, up_grad, up_t, threads);
        }
    });

    Gradients {
        input: needed
            .input
            .then(|| combine(&d_input, dispatch, [tokens, hidden], k))
            .map(|sums| tensor(sums, [tokens, hidden])),
        projections: needed.projections.then(|| Projections {
            gate: tensor(d_gate, [experts, hidden, width]),
            up: tensor(d_up, [experts, hidden, width]),
            down: tensor(d_down, [experts, width, hidden]),
        }),
        weights: needed.weights.then(|| {
            let by_slot = dispatch
                .position_of_slots()
                .into_iter()
                .map(|at| at.map_or(0.0, |at| d_weights[at]));
            tensor(by_slot.collect(), [tokens, k])
        }),
    }
}

kernel! {
    /// From `inner_grad = dy D^T`, computes `inner = w silu(gate) up` and the gradients of the gate product, of the
    /// up product (in place) and of `w`.
    fn differentiate<'a>(
        outputs: [&'a mut [f32]; 3],
        weight_grad: &'a mut [f32],
        products: [&'a [f32]; 2],
        slots: &'a [usize],
        weights: &'a [f32],
    ) {
        let [inner, gate_grad, inner_grad] = outputs;
        let [gate, up] = products;
        let width = (gate.len() / slots.len()).max(1);
        let sources = gate.chunks_exact(width).zip(up.chunks_exact(width)).zip(slots);
        let outputs = inner
            .chunks_exact_mut(width)
            .zip(gate_grad.chunks_exact_mut(width))
            .zip(inner_grad.chunks_exact_mut(width))
            .zip(weight_grad);
        for ((((inner, gate_grad), inner_grad), weight_grad), ((gate, up), slot)) in
            outputs.zip(sources)
        {
            let weight = weights[*slot];
            for (inner, (gate, up)) in inner.iter_mut().zip(gate.iter().zip(up)) {
                *inner = gate * sigmoid(*gate) * up;
            }
            *weight_grad = dot(inner, inner_grad);
            let outputs = inner.iter_mut().zip(gate_grad.iter_mut()).zip(inner_grad.iter_mut());
            for (((inner, gate_grad), inner_grad), (gate, up)) in outputs.zip(gate.iter().zip(up)) {
                let open = sigmoid(*gate);
                let silu = gate * open;
                let grad = *inner_grad * weight;
                *inner *= weight;
                *gate_grad = grad * up * (open + silu * (1.0 - open));
                *inner_grad = grad * silu;
            }
        }
    }
}
