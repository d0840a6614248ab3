//! Products `x W` whose every element is one chain of fused multiply-adds.
//!
//! `y[r][o] = fma(x[r][n-1], W[n-1][o], ... fma(x[r][0], W[0][o],
//! 0))`, so the order of summation depends on the width `in` alone. A row has the same bits alone, in a batch, in a
//! part of a prompt, on any number of threads and in any form of the product, and the same bits as the product with
//! the weights converted to f32.
//!
//! - `weights.rs`: stored formats of weights, and their conversion to f32.
//! - `stream.rs`: few rows; the weights are read once, in memory order.
//! - `shares.rs`: division of the columns among threads that stream.
//! - `packed.rs`: many rows; blocks of the weights are packed for register tiles.
//! - `dots.rs`: weights `[out, in]`, as dot products with their own fixed order.

pub(crate) mod dots;
mod packed;
mod shares;
mod stream;
mod weights;

use crate::flex::matrix::{MatMut, MatRef, Threads, Update};
use crate::flex::team;
pub(crate) use dots::{dots, dots_block};
pub(crate) use packed::Buffers;
pub(crate) use shares::{Share, shares};
pub(crate) use stream::ROWS as FEW_ROWS;
pub(crate) use weights::{Element, IN_FLIGHT, Outcome, Weights};

/// Number of multiply-adds that justifies a second thread, about ten microseconds of work.
const WORTH_A_THREAD: usize = 64 * 1024;
/// Number of multiply-adds that justifies a second thread of a waiting team: two microseconds of reading weights.
const WORTH_A_MEMBER: usize = 8 * 1024;
/// Maximum number of rows per task; their packed copy stays in the last-level cache.
const TASK_ROWS: usize = 480;
/// Number of tasks per thread, so that a delayed thread leaves work to the others.
const TASKS_PER_THREAD: usize = 2;

/// Column step of tasks that stream: whole quantization blocks, or whole cache lines.
pub(crate) const STREAM_STEP: usize = 32;

/// `x W` in a new buffer.
///
/// # Panics
///
/// If the shapes do not fit.
pub(crate) fn product<W: Weights>(x: MatRef<'_>, weights: W, threads: Threads) -> Vec<f32> {
    let ([rows, width], [inner, cols]) = (x.shape(), weights.shape());
    assert_eq!(width, inner);
    let mut values = vec![0.0; rows * cols];
    if values.is_empty() || inner == 0 {
        return values;
    }
    let mut out = MatMut::new(&mut values, [rows, cols]);
    let threads = match threads {
        Threads::One => 1,
        Threads::All => threads_worth(rows * inner * cols),
    };
    let run = |buffers: &mut Buffers, ([row, col], mut out): ([usize; 2], MatMut<'_>)| {
        let part = Part {
            update: Update::Set,
            x: x.rows(row..row + out.shape()[0]),
            weights,
            first: col,
        };
        write_block(&mut out, part, buffers);
    };
    if threads == 1 {
        run(&mut Buffers::default(), ([0, 0], out.rows(0..rows)));
        return values;
    }
    let blocks = if streams(rows, weights) {
        shares(vec![out], threads)
            .into_iter()
            .map(|share| ([0, share.first], share.out))
            .collect()
    } else {
        let [row_step, col_step] = packed_steps([rows, cols], threads);
        out.split_blocks(row_step, col_step)
    };
    team::each(blocks, Buffers::default, run);
    values
}

/// Number of threads that this many multiply-adds justify.
pub(crate) fn threads_worth(multiply_adds: usize) -> usize {
    let worth = if team::at_hand() {
        WORTH_A_MEMBER
    } else {
        WORTH_A_THREAD
    };
    let most = (multiply_adds / worth).max(1);
    match most {
        1 => 1,
        _ => rayon::current_num_threads().min(most),
    }
}

/// Adds columns of the product, starting at `first`, to `out`, on the calling thread.
pub(crate) fn add_block<W: Weights>(
    out: &mut MatMut<'_>,
    x: MatRef<'_>,
    weights: W,
    first: usize,
    buffers: &mut Buffers,
) {
    let part = Part {
        update: Update::Add,
        x,
        weights,
        first,
    };
    write_block(out, part, buffers);
}

/// The part of a product that is written to a block: columns starting at `first`.
#[derive(Debug, Clone, Copy)]
struct Part<'a, W> {
    update: Update,
    x: MatRef<'a>,
    weights: W,
    first: usize,
}

fn write_block<W: Weights>(out: &mut MatMut<'_>, part: Part<'_, W>, buffers: &mut Buffers) {
    let [rows, cols] = out.shape();
    let few = streams(rows, part.weights);
    let [row_step, col_step] = if few {
        [rows, stream_columns(rows, cols)]
    } else {
        [TASK_ROWS, cols]
    };
    for ([row, col], mut out) in out.rows(0..rows).split_blocks(row_step, col_step) {
        let part = Part {
            x: part.x.rows(row..row + out.shape()[0]),
            first: part.first + col,
            ..part
        };
        if few {
            stream::stream(&mut out, part, buffers)
        } else {
            packed::packed(&mut out, part, buffers)
        }
    }
}

fn streams<W: Weights>(rows: usize, weights: W) -> bool {
    rows <= stream::ROWS && weights.streams()
}

/// Maximum number of columns that one thread processes at once, if no other thread shares them.
fn stream_columns(rows: usize, cols: usize) -> usize {
    let most = (stream::COLUMNS / rows).max(256);
    let tasks = cols.div_ceil(most);
    cols.div_ceil(tasks).next_multiple_of(STREAM_STEP)
}

/// Rows and columns per task of the packed form, halved until every thread has enough tasks.
fn packed_steps([rows, cols]: [usize; 2], threads: usize) -> [usize; 2] {
    let equal = rows.div_ceil(rows.div_ceil(TASK_ROWS));
    let (mut row_step, mut col_step) = (equal.next_multiple_of(packed::TILE_ROWS), cols);
    let count = |row: usize, col: usize| rows.div_ceil(row) * cols.div_ceil(col);
    while count(row_step, col_step) < TASKS_PER_THREAD * threads {
        if col_step > 128 && col_step >= row_step / 4 {
            col_step = col_step.div_ceil(2).next_multiple_of(64);
        } else if row_step > 48 {
            row_step = row_step.div_ceil(2).next_multiple_of(packed::TILE_ROWS);
        } else {
            break;
        }
    }
    [row_step, col_step]
}
