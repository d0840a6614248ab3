//! The forward pass alone: only chosen experts are read, and the columns of each are shared among the
//! threads, so that all of them are busy whatever a single token chooses.
//!
//! Gate and up of an expert are products with the chain of `flex/product`; a token's choices are added in
//! their order. A token has the same bits whatever else is in the batch.

use burn::tensor::{Int, Tensor};
use burn_flex::Flex;
use rayon::prelude::*;

use super::flex::{combine, flat, take};
use super::{Dispatch, Projections};
use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{Buffers, Element, Weights, add_block, threads_worth};
use crate::flex::rows::{View, indices as whole, with_element};
use crate::flex::simd::{kernel, sigmoid};

/// See [`Ops::experts`](crate::Ops::experts). Weights of two bytes become f32 as they are read.
pub(crate) fn experts(
    input: Tensor<Flex, 2>,
    projections: Projections<Flex>,
    indices: Tensor<Flex, 2, Int>,
    weights: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let dtype = projections.gate.dtype();
    let Projections { gate, up, down } = projections;
    let [gate, up, down] = [gate, up, down].map(View::strided);
    with_element!(dtype, E => {
        let stacks = Stacks {
            gate: |expert| expert_of::<E>(&gate, expert),
            up: |expert| expert_of::<E>(&up, expert),
            down: |expert| expert_of::<E>(&down, expert),
            experts: gate.shape()[0],
        };
        forward(input, &stacks, indices, weights)
    })
}

/// One expert's matrix.
fn expert_of<E: Element>(stack: &View<3>, expert: usize) -> MatRef<'_, E> {
    let [_, rows, cols] = stack.shape();
    let start = expert * stack.stride(0);
    let data = stack.data_of();
    MatRef::strided(
        &data[start.min(data.len())..],
        [rows, cols],
        [stack.stride(1), stack.stride(2)],
    )
}

/// The matrices of every expert.
pub(crate) struct Stacks<G, U, D> {
    pub(crate) gate: G,
    pub(crate) up: U,
    pub(crate) down: D,
    pub(crate) experts: usize,
}

/// See [`Ops::experts`](crate::Ops::experts), with matrices of any kind.
pub(crate) fn forward<G: Weights, U: Weights, D: Weights>(
    input: Tensor<Flex, 2>,
    stacks: &Stacks<
        impl Fn(usize) -> G + Sync,
        impl Fn(usize) -> U + Sync,
        impl Fn(usize) -> D + Sync,
    >,
    indices: Tensor<Flex, 2, Int>,
    weights: Tensor<Flex, 2>,
) -> Tensor<Flex, 2> {
    let [tokens, hidden] = input.dims();
    let [_, k] = indices.dims();
    let dispatch = Dispatch::new(&whole(indices), stacks.experts, k);
    let gates = flat(&weights);
    let rows = View::rows(input);
    let mut sorted = Vec::with_capacity(dispatch.len() * hidden);
    for expert in 0..stacks.experts {
        for token in dispatch.tokens(expert) {
            sorted.extend_from_slice(rows.matrix().row(token));
        }
    }
    let x = MatRef::new(&sorted, [dispatch.len(), hidden]);

    let [_, width] = match stacks.experts {
        0 => [hidden, 0],
        _ => (stacks.gate)(0).shape(),
    };
    let mut inner = vec![0.0; dispatch.len() * width];
    for_each_block(&mut inner, &dispatch, [hidden, width], |block, scratch| {
        let Block {
            expert,
            first,
            mut out,
        } = block;
        let Scratch { up, buffers } = scratch;
        let shape @ [count, cols] = out.shape();
        let x = x.rows(dispatch.positions(expert));
        up.clear();
        up.resize(count * cols, 0.0);
        add_block(&mut out, x, (stacks.gate)(expert), first, buffers);
        let mut up_block = MatMut::new(up, shape);
        add_block(&mut up_block, x, (stacks.up)(expert), first, buffers);
        for (row, slot) in dispatch.slots(expert).iter().enumerate() {
            activate(out.row(row), &up[row * cols..][..cols], gates[*slot]);
        }
    });
    let inner = MatRef::new(&inner, [dispatch.len(), width]);
    let mut outputs = vec![0.0; dispatch.len() * hidden];
    for_each_block(
        &mut outputs,
        &dispatch,
        [width, hidden],
        |block, scratch| {
            let Block {
                expert,
                first,
                mut out,
            } = block;
            let inner = inner.rows(dispatch.positions(expert));
            let down = (stacks.down)(expert);
            add_block(&mut out, inner, down, first, &mut scratch.buffers);
        },
    );
    combine(&outputs, &dispatch, [tokens, hidden], k)
}

/// What a thread keeps from block to block.
#[derive(Default)]
struct Scratch {
    up: Vec<f32>,
    buffers: Buffers,
}

/// Columns of what an expert makes of its rows.
struct Block<'a> {
    expert: usize,
    /// The first column.
    first: usize,
    out: MatMut<'a>,
}

/// Cuts the outputs of all experts, one after the other in `out`, into blocks of columns.
fn for_each_block(
    out: &mut [f32],
    dispatch: &Dispatch,
    [inner, width]: [usize; 2],
    work: impl Fn(Block<'_>, &mut Scratch) + Sync,
) {
    let counts = (0..dispatch.experts()).map(|expert| dispatch.positions(expert).len());
    let busy = counts.clone().filter(|count| *count > 0).count();
    let largest = counts.max().unwrap_or(0);
    let threads = threads_worth(dispatch.len() * inner * width);
    // every thread has a part of an expert that has more than a thread's share
    let pieces = match largest * threads > dispatch.len() || busy < 4 * threads {
        true => threads,
        false => 1,
    };
    let step = width.div_ceil(pieces).next_multiple_of(64);
    let mut rest = out;
    let mut blocks = Vec::with_capacity(busy * pieces);
    for expert in 0..dispatch.experts() {
        let count = dispatch.positions(expert).len();
        let out = MatMut::new(take(&mut rest, count * width), [count, width]);
        let cut = out.split_blocks(count, step).into_iter();
        blocks.extend(cut.map(|([_, first], out)| Block { expert, first, out }));
    }
    if threads == 1 {
        let mut scratch = Scratch::default();
        blocks
            .into_iter()
            .for_each(|block| work(block, &mut scratch));
    } else {
        blocks
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(Scratch::default, |scratch, block| work(block, scratch));
    }
}

kernel! {
    /// `w silu(gate) up` in place of the gate.
    fn activate<'a>(gate: &'a mut [f32], up: &'a [f32], weight: f32) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate * sigmoid(*gate) * up * weight;
        }
    }
}
