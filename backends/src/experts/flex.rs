//! One task per expert: it gathers its rows once and multiplies them in place; then each token sums the outputs of
//! its experts. Experts run in parallel, unless one has more than a thread's share of the rows: then they run one
//! after the other, each product on all threads.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use burn_flex::Flex;

use super::{Dispatch, Projections, Saved};
use crate::flex::fresh::new_rows;
use crate::flex::gemm::gemm;
use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::rows::{View, for_each_rows, indices as whole, tensor};
use crate::flex::simd::{kernel, sigmoid};
use crate::flex::team;

/// See [`Ops::experts_saving`](crate::Ops::experts_saving).
pub(crate) fn experts_saving(
    input: Tensor<Flex, 2>,
    projections: Projections<Flex>,
    indices: Tensor<Flex, 2, Int>,
    weights: Tensor<Flex, 2>,
) -> (Tensor<Flex, 2>, Saved<Flex>) {
    let [tokens, hidden] = input.dims();
    let [_, k] = indices.dims();
    let [experts, _, width] = projections.gate.dims();
    let dispatch = Dispatch::new(&whole(indices), experts, k);
    let stacks = Stacks::new(&projections);
    let rows = View::rows(input.clone());
    let gates = flat(&weights);

    let mut gate_product = vec![0.0; dispatch.len() * width];
    let mut up_product = vec![0.0; dispatch.len() * width];
    let mut outputs = vec![0.0; dispatch.len() * hidden];
    let (mut gate_rest, mut up_rest) = (&mut gate_product[..], &mut up_product[..]);
    let mut output_rest = &mut outputs[..];
    let tasks: Vec<Forward> = (0..experts)
        .filter_map(|expert| {
            let count = dispatch.slots(expert).len();
            (count > 0).then(|| Forward {
                expert,
                count,
                gate: take(&mut gate_rest, count * width),
                up: take(&mut up_rest, count * width),
                output: take(&mut output_rest, count * hidden),
            })
        })
        .collect();
    run(tasks, &dispatch, |task, scratch: &mut Scratch, threads| {
        let Forward {
            expert,
            count,
            gate,
            up,
            output,
        } = task;
        let Scratch {
            rows: chosen,
            inner,
            ..
        } = scratch;
        gather(chosen, rows.matrix(), dispatch.tokens(expert), hidden);
        let x = MatRef::new(chosen, [count, hidden]);
        let product = |out: &mut [f32], stack: &View<3>| {
            let mut out = MatMut::new(out, [count, width]);
            gemm(
                &mut out,
                Update::Set,
                1.0,
                x,
                expert_of(stack, expert),
                threads,
            );
        };
        product(gate, &stacks.gate);
        product(up, &stacks.up);

        inner.resize(count * width, 0.0);
        let slots = dispatch.slots(expert);
        let (gate, up) = (&*gate, &*up);
        for_each_rows(threads, inner, width, |first, inner| {
            weighted(
                inner,
                &gate[first * width..],
                &up[first * width..],
                &slots[first..],
                &gates,
            );
        });
        let inner = MatRef::new(inner, [count, width]);
        let mut output = MatMut::new(output, [count, hidden]);
        gemm(
            &mut output,
            Update::Set,
            1.0,
            inner,
            expert_of(&stacks.down, expert),
            threads,
        );
    });

    let output = combine(&outputs, &dispatch, [tokens, hidden], k);
    let output = tensor(output, [tokens, hidden]);
    let slots = dispatch.len();
    let saved = Saved {
        input,
        projections,
        weights,
        dispatch: Arc::new(dispatch),
        gate_product: tensor(gate_product, [slots, width]),
        up_product: tensor(up_product, [slots, width]),
    };
    (output, saved)
}

/// Forward pass of one expert.
struct Forward<'a> {
    expert: usize,
    count: usize,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    output: &'a mut [f32],
}

/// The three weight stacks, in place.
pub(super) struct Stacks {
    pub(super) gate: View<3>,
    pub(super) up: View<3>,
    pub(super) down: View<3>,
}

impl Stacks {
    pub(super) fn new(projections: &Projections<Flex>) -> Self {
        Self {
            gate: View::strided(projections.gate.clone()),
            up: View::strided(projections.up.clone()),
            down: View::strided(projections.down.clone()),
        }
    }
}

/// Buffers that a thread reuses from expert to expert.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) rows: Vec<f32>,
    pub(super) grads: Vec<f32>,
    pub(super) inner: Vec<f32>,
    pub(super) inner_grad: Vec<f32>,
}

/// Runs the tasks of all experts, in parallel or one after the other.
pub(super) fn run<T: Send>(
    tasks: Vec<T>,
    dispatch: &Dispatch,
    work: impl Fn(T, &mut Scratch, Threads) + Sync,
) {
    let largest = (0..dispatch.experts())
        .map(|expert| dispatch.slots(expert).len())
        .max();
    if largest.unwrap_or(0) * rayon::current_num_threads() > dispatch.len() {
        let mut scratch = Scratch::default();
        for task in tasks {
            work(task, &mut scratch, Threads::All);
        }
        return;
    }
    team::each(tasks, Scratch::default, |scratch, task| {
        work(task, scratch, Threads::One);
    });
}

/// Matrix of one expert.
pub(super) fn expert_of(stack: &View<3>, expert: usize) -> MatRef<'_> {
    let [_, rows, cols] = stack.shape();
    let start = expert * stack.stride(0);
    MatRef::strided(
        &stack.data()[start..],
        [rows, cols],
        [stack.stride(1), stack.stride(2)],
    )
}

/// Copies the rows of `tokens`, one after the other.
pub(super) fn gather(
    out: &mut Vec<f32>,
    from: MatRef<'_>,
    tokens: impl ExactSizeIterator<Item = usize>,
    width: usize,
) {
    out.clear();
    out.reserve(tokens.len() * width);
    for token in tokens {
        out.extend_from_slice(from.row(token));
    }
}

/// Sums the rows of every token's assignments, in the order of its choices; zeros if it has none.
pub(crate) fn combine(
    sorted: &[f32],
    dispatch: &Dispatch,
    [tokens, width]: [usize; 2],
    k: usize,
) -> Vec<f32> {
    let positions = dispatch.position_of_slots();
    let [out] = new_rows(tokens, [width], |first, [out]| {
        add_rows(out, width, sorted, &positions[first * k..], k);
    });
    out
}

/// The gate weights, by slot.
pub(crate) fn flat(weights: &Tensor<Flex, 2>) -> Vec<f32> {
    let [tokens, _] = weights.dims();
    let view = View::rows(weights.clone());
    (0..tokens)
        .flat_map(|token| view.matrix().row(token).to_vec())
        .collect()
}

/// Splits off the first `len` elements.
pub(crate) fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, left) = std::mem::take(rest).split_at_mut(len);
    *rest = left;
    taken
}

kernel! {
    /// `w silu(gate) up`.
    fn weighted<'a>(
        out: &'a mut [f32],
        gate: &'a [f32],
        up: &'a [f32],
        slots: &'a [usize],
        weights: &'a [f32],
    ) {
        let width = (gate.len() / slots.len()).max(1);
        let rows = gate.chunks_exact(width).zip(up.chunks_exact(width)).zip(slots);
        for (out, ((gate, up), slot)) in out.chunks_exact_mut(width).zip(rows) {
            let weight = weights[*slot];
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate * sigmoid(*gate) * up * weight;
            }
        }
    }
}

kernel! {
    fn add_rows<'a>(
        out: &'a mut [f32],
        width: usize,
        sorted: &'a [f32],
        positions: &'a [Option<usize>],
        k: usize,
    ) {
        for (out, positions) in out.chunks_exact_mut(width).zip(positions.chunks_exact(k)) {
            for position in positions.iter().flatten() {
                let row = &sorted[position * width..][..width];
                for (out, value) in out.iter_mut().zip(row) {
                    *out += value;
                }
            }
        }
    }
}
