//! Only chosen experts are read, and the columns of each are shared among the threads, so that all threads are busy
//! even for a single token. Routed and shared experts are computed in the same two passes.
//!
//! Gate and up products are the fused multiply-add chains of `flex/product`, and a token's experts are summed in the
//! order of its choices. A token's bits do not depend on the rest of the batch.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::{Gated, Routed};
use crate::experts::Dispatch;
use crate::experts::flex::{combine, flat, take};
use crate::flex::matrix::{MatMut, MatRef};
use crate::flex::product::{Buffers, STREAM_STEP, threads_worth};
use crate::flex::rows::{View, all_f32, indices as whole, tensor};
use crate::flex::simd::{kernel, sigmoid};
use crate::flex::stored::{Held, Stored};
use crate::flex::team;

/// See [`Ops::feed_forward`](crate::Ops::feed_forward). `None` if the kernels do not support the types.
pub(crate) fn feed_forward(
    input: &Tensor<Flex, 2>,
    routed: Option<&Routed<Flex>>,
    shared: Option<&Gated<Flex, 2>>,
) -> Option<Tensor<Flex, 2>> {
    let types = routed.map_or(input.dtype(), |routed| routed.weights.dtype());
    if !all_f32(&[input.dtype(), types]) {
        return None;
    }
    let experts = match routed {
        Some(routed) => Some((routed, held(&routed.experts)?)),
        None => None,
    };
    let shared = match shared {
        Some(shared) => Some(held(shared)?),
        None => None,
    };
    let [tokens, hidden] = input.dims();
    let rows = View::rows(input.clone());
    let chosen = experts.as_ref().map(|(routed, held)| {
        let [_, k] = routed.indices.dims();
        let dispatch = Dispatch::new(&whole(routed.indices.clone()), held[0].count(), k);
        let mut sorted = Vec::with_capacity(dispatch.len() * hidden);
        for expert in 0..dispatch.experts() {
            for token in dispatch.tokens(expert) {
                sorted.extend_from_slice(rows.matrix().row(token));
            }
        }
        Chosen {
            gates: flat(&routed.weights),
            held,
            dispatch,
            sorted,
            k,
        }
    });

    let mut visits = Vec::new();
    if let Some(chosen) = &chosen {
        visits.extend(chosen.visits(hidden));
    }
    if let Some(held) = &shared {
        visits.push(Visit::new(held, 0, rows.matrix(), &[], &[]));
    }
    let outputs = visit(&visits, hidden);
    let Some(chosen) = chosen else {
        return Some(tensor(outputs, [tokens, hidden]));
    };
    let (routed, shared) = outputs.split_at(chosen.dispatch.len() * hidden);
    let mut output = combine(routed, &chosen.dispatch, [tokens, hidden], chosen.k);
    if !shared.is_empty() {
        output
            .iter_mut()
            .zip(shared)
            .for_each(|(sum, term)| *sum += term);
    }
    Some(tensor(output, [tokens, hidden]))
}

fn held<const D: usize>(weights: &Gated<Flex, D>) -> Option<[Held<D>; 3]> {
    Some([
        Held::new(&weights.gate)?,
        Held::new(&weights.up)?,
        Held::new(&weights.down)?,
    ])
}

/// Rows of the input by chosen expert.
struct Chosen<'a> {
    held: &'a [Held<3>; 3],
    dispatch: Dispatch,
    /// Rows of the input, sorted by expert.
    sorted: Vec<f32>,
    /// Gate weights by slot.
    gates: Vec<f32>,
    k: usize,
}

impl Chosen<'_> {
    fn visits(&self, hidden: usize) -> impl Iterator<Item = Visit<'_>> {
        let rows = MatRef::new(&self.sorted, [self.dispatch.len(), hidden]);
        let busy = (0..self.dispatch.experts())
            .filter(|expert| !self.dispatch.positions(*expert).is_empty());
        busy.map(move |expert| {
            let rows = rows.rows(self.dispatch.positions(expert));
            let slots = self.dispatch.slots(expert);
            Visit::new(self.held, expert, rows, slots, &self.gates)
        })
    }
}

/// Rows that visit one expert.
struct Visit<'a> {
    rows: MatRef<'a>,
    gate: Stored<'a>,
    up: Stored<'a>,
    down: Stored<'a>,
    /// Indices of the rows' gate weights in `gates`; empty if all weights are one.
    slots: &'a [usize],
    gates: &'a [f32],
}

impl<'a> Visit<'a> {
    fn new<const D: usize>(
        [gate, up, down]: &'a [Held<D>; 3],
        expert: usize,
        rows: MatRef<'a>,
        slots: &'a [usize],
        gates: &'a [f32],
    ) -> Self {
        Self {
            rows,
            gate: gate.matrix(expert),
            up: up.matrix(expert),
            down: down.matrix(expert),
            slots,
            gates,
        }
    }

    fn count(&self) -> usize {
        self.rows.shape()[0]
    }

    fn width(&self) -> usize {
        self.gate.shape()[1]
    }

    fn weight(&self, row: usize) -> f32 {
        self.slots.get(row).map_or(1.0, |slot| self.gates[*slot])
    }
}

/// Outputs of the experts for their rows, one visit after the other.
fn visit(visits: &[Visit<'_>], hidden: usize) -> Vec<f32> {
    let widths: Vec<usize> = visits.iter().map(Visit::width).collect();
    let mut inner = buffer(visits, &widths);
    for_each_block(&mut inner, visits, &widths, hidden, |block, scratch| {
        let (at, first, mut out) = block;
        let (visit, Scratch { up, buffers }) = (&visits[at], scratch);
        let shape @ [count, cols] = out.shape();
        up.clear();
        up.resize(count * cols, 0.0);
        let mut up_block = MatMut::new(up, shape);
        visit.gate.add_block(&mut out, visit.rows, first, buffers);
        visit
            .up
            .add_block(&mut up_block, visit.rows, first, buffers);
        for (row, up) in up.chunks_exact(cols.max(1)).enumerate() {
            activate(out.row(row), up, visit.weight(row));
        }
    });
    let mut rest = &inner[..];
    let inner: Vec<MatRef<'_>> = visits
        .iter()
        .map(|visit| {
            let shape = [visit.count(), visit.width()];
            let (own, others) = rest.split_at(shape[0] * shape[1]);
            rest = others;
            MatRef::new(own, shape)
        })
        .collect();
    let hiddens = vec![hidden; visits.len()];
    let mut outputs = buffer(visits, &hiddens);
    let width = widths.iter().copied().max().unwrap_or(0);
    for_each_block(&mut outputs, visits, &hiddens, width, |block, scratch| {
        let (at, first, mut out) = block;
        let buffers = &mut scratch.buffers;
        visits[at]
            .down
            .add_block(&mut out, inner[at], first, buffers);
    });
    outputs
}

/// Zeroed outputs of all visits, with the given number of columns each.
fn buffer(visits: &[Visit<'_>], columns: &[usize]) -> Vec<f32> {
    let sizes = visits
        .iter()
        .zip(columns)
        .map(|(visit, cols)| visit.count() * cols);
    vec![0.0; sizes.sum()]
}

/// Buffers that a thread reuses from block to block.
#[derive(Default)]
struct Scratch {
    up: Vec<f32>,
    buffers: Buffers,
}

/// Index of a visit, first column, and output of a block of columns.
type Block<'a> = (usize, usize, MatMut<'a>);

/// Splits the outputs of all visits, concatenated in `out`, into blocks of columns and calls `work` on each.
fn for_each_block(
    out: &mut [f32],
    visits: &[Visit<'_>],
    columns: &[usize],
    inner: usize,
    work: impl Fn(Block<'_>, &mut Scratch) + Sync + Send,
) {
    let threads = threads_worth(out.len() * inner);
    let total = out.len();
    let mut rest = out;
    let mut blocks = Vec::with_capacity(visits.len() * threads);
    for (at, (visit, cols)) in visits.iter().zip(columns).enumerate() {
        let own = visit.count() * cols;
        // an expert with more than half of a thread's share is split among all threads
        let pieces = if 2 * own * threads > total || visits.len() < 4 * threads {
            threads
        } else {
            1
        };
        let step = cols.div_ceil(pieces).next_multiple_of(STREAM_STEP);
        let out = MatMut::new(take(&mut rest, own), [visit.count(), *cols]);
        let cut = out.split_blocks(visit.count().max(1), step).into_iter();
        blocks.extend(cut.map(|([_, first], out)| (at, first, out)));
    }
    let run = |scratch: &mut Scratch, block: Block<'_>| work(block, scratch);
    if threads == 1 {
        let mut scratch = Scratch::default();
        blocks
            .into_iter()
            .for_each(|block| run(&mut scratch, block));
    } else {
        team::each(blocks, Scratch::default, run);
    }
}

kernel! {
    /// `w silu(gate) up`, in place of `gate`.
    fn activate<'a>(gate: &'a mut [f32], up: &'a [f32], weight: f32) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate * sigmoid(*gate) * up * weight;
        }
    }
}
