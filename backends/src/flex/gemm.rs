//! Matrix products by the `gemm` crate, split among threads by blocks of the output.
#![allow(
    unsafe_code,
    reason = "`gemm` takes raw pointers, and its destination need not have been written before"
)]

use gemm::Parallelism;

use super::matrix::{MatMut, MatRef, Threads, Update};
use super::team;

/// Number of multiply-adds that justifies a thread, a few microseconds of work.
const WORTH_A_THREAD: usize = 256 * 1024;
/// Number of rows and columns up to which `gemm` sums in another order than in larger products.
const SMALL: usize = 64;
/// Rows and columns of blocks are multiples of these, which are about the register tiles of `gemm`.
const UNIT: [usize; 2] = [6, 32];

/// `dst = scale * lhs rhs`, or `dst += ...`. The order of summation depends on the shape, not on the number of
/// threads.
///
/// # Panics
///
/// If the shapes do not fit.
pub(crate) fn gemm(
    dst: &mut MatMut<'_>,
    update: Update,
    scale: f32,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    threads: Threads,
) {
    let shape = dst.shape();
    let product = Product::new(dst.rows(0..shape[0]), update, scale, lhs, rhs);
    match threads {
        Threads::One => product.compute(),
        Threads::All => compute(vec![product]),
    }
}

/// `lhs rhs` of every pair in new buffers, in one parallel part.
///
/// # Panics
///
/// If the shapes do not fit.
pub(crate) fn products<const N: usize>(
    pairs: [Option<(MatRef<'_>, MatRef<'_>)>; N],
) -> [Option<Vec<f32>>; N] {
    let shape = |(lhs, rhs): (MatRef<'_>, MatRef<'_>)| [lhs.shape()[0], rhs.shape()[1]];
    let len = |pair| shape(pair).into_iter().product();
    let mut buffers = pairs.map(|pair| Some(Vec::with_capacity(len(pair?))));
    let parts = buffers
        .iter_mut()
        .flatten()
        .zip(pairs.into_iter().flatten());
    let parts = parts.map(|(buffer, pair)| {
        let dst = MatMut::unwritten(buffer.spare_capacity_mut(), shape(pair));
        Product::new(dst, Update::Set, 1.0, pair.0, pair.1)
    });
    compute(parts.collect());
    for (buffer, pair) in buffers
        .iter_mut()
        .flatten()
        .zip(pairs.into_iter().flatten())
    {
        // SAFETY: the capacity holds them, and the product wrote every element.
        unsafe { buffer.set_len(len(pair)) };
    }
    buffers
}

/// A matrix product, or a block of one.
struct Product<'a> {
    dst: MatMut<'a>,
    update: Update,
    scale: f32,
    lhs: MatRef<'a>,
    rhs: MatRef<'a>,
}

/// Computes products on all threads, each split independently of the others, largest blocks first.
fn compute(products: Vec<Product<'_>>) {
    let mut blocks: Vec<_> = products.into_iter().flat_map(Product::blocks).collect();
    if blocks.len() < 2 {
        return blocks.into_iter().for_each(Product::compute);
    }
    blocks.sort_by_key(|block| std::cmp::Reverse(block.multiply_adds()));
    team::each(blocks, || (), |(), block| block.compute());
}

impl<'a> Product<'a> {
    fn new(dst: MatMut<'a>, update: Update, scale: f32, lhs: MatRef<'a>, rhs: MatRef<'a>) -> Self {
        assert_eq!(dst.shape(), [lhs.shape()[0], rhs.shape()[1]]);
        assert_eq!(lhs.shape()[1], rhs.shape()[0]);
        Self {
            dst,
            update,
            scale,
            lhs,
            rhs,
        }
    }

    fn multiply_adds(&self) -> usize {
        let [rows, cols] = self.dst.shape();
        rows * cols * self.lhs.shape()[1]
    }

    /// Splits the product into blocks, for as many threads as its size justifies.
    fn blocks(self) -> Vec<Self> {
        let worth = self.multiply_adds() / WORTH_A_THREAD;
        let threads = rayon::current_num_threads().min(worth);
        let [row_step, col_step] = steps(self.dst.shape(), threads);
        let Self {
            dst,
            update,
            scale,
            lhs,
            rhs,
        } = self;
        let blocks = dst.split_blocks(row_step, col_step).into_iter();
        let block = |([row, col], dst): ([usize; 2], MatMut<'a>)| {
            let [rows, cols] = dst.shape();
            Self {
                dst,
                update,
                scale,
                lhs: lhs.rows(row..row + rows),
                rhs: rhs.columns(col..col + cols),
            }
        };
        blocks.map(block).collect()
    }

    /// Computes the product on this thread.
    fn compute(mut self) {
        let ([rows, cols], [_, inner]) = (self.dst.shape(), self.lhs.shape());
        let [lhs_rows, lhs_cols] = self.lhs.strides().map(|stride| stride as isize);
        let [rhs_rows, rhs_cols] = self.rhs.strides().map(|stride| stride as isize);
        // SAFETY: constructors and slicing keep every element of the three views in bounds, `dst` is
        // exclusively borrowed, and with `read_dst` false it is written before it is read.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                inner,
                self.dst.as_mut_ptr(),
                1,
                self.dst.row_stride() as isize,
                self.update == Update::Add,
                self.lhs.as_ptr(),
                lhs_cols,
                lhs_rows,
                self.rhs.as_ptr(),
                rhs_cols,
                rhs_rows,
                1.0,
                self.scale,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// Rows and columns of the blocks among which `threads` threads share a product. The longer side is halved, or the
/// other one if that would make a [`SMALL`] block. Products with vectors are not split, for the same reason.
fn steps(shape: [usize; 2], threads: usize) -> [usize; 2] {
    if shape.contains(&1) {
        return shape;
    }
    let mut pieces = [1, 1];
    while pieces[0] * pieces[1] < threads {
        let [rows, cols] = step(shape, pieces);
        let longer = usize::from(cols > rows);
        let halved = [longer, 1 - longer].map(|side| {
            let mut more = pieces;
            more[side] *= 2;
            more
        });
        match halved.into_iter().find(|more| !has_small(shape, *more)) {
            Some(more) => pieces = more,
            None => break,
        }
    }
    step(shape, pieces)
}

/// Rows and columns of all blocks but the last, for the given number of pieces per side.
fn step(shape: [usize; 2], pieces: [usize; 2]) -> [usize; 2] {
    std::array::from_fn(|side| match pieces[side] {
        1 => shape[side],
        pieces => shape[side].div_ceil(pieces).next_multiple_of(UNIT[side]),
    })
}

/// Whether the last and smallest block is [`SMALL`].
fn has_small(shape: [usize; 2], pieces: [usize; 2]) -> bool {
    let step = step(shape, pieces);
    (0..2).all(|side| shape[side] - (shape[side] - 1) / step[side] * step[side] <= SMALL)
}

#[cfg(test)]
mod tests {
    use super::{SMALL, products, steps};
    use crate::flex::matrix::MatRef;

    #[test]
    fn blocks_are_even_and_none_is_small() {
        assert_eq!(steps([1024, 1440], 2), [1024, 736]);
        assert_eq!(steps([1440, 1024], 4), [720, 512]);
        assert_eq!(steps([128, 96], 2), [66, 96]);
        // halving the longer side would make a small block; small products and those with vectors are not split
        assert_eq!(steps([128, 64], 2), [128, 32]);
        assert_eq!(steps([SMALL, SMALL], 8), [SMALL, SMALL]);
        assert_eq!(steps([1, 4096], 3), [1, 4096]);
    }

    /// Bits of a product computed on the given number of threads.
    fn bits(threads: usize, lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pair = Some((lhs, rhs));
        let pairs = [pair, None, pair];
        let [first, none, second] = pool.expect("a pool").install(|| products(pairs));
        assert!(first == second && none.is_none());
        first.into_iter().flatten().map(f32::to_bits).collect()
    }

    #[test]
    fn a_product_has_the_same_bits_on_any_number_of_threads() {
        let number = |at: usize| ((at * 7919 + 13) % 1009) as f32 / 504.0 - 1.0;
        let numbers: Vec<f32> = (0..2000 * 700).map(number).collect();
        for [rows, inner, cols] in [
            [128, 2000, 64],
            [128, 2000, 96],
            [70, 1100, 70],
            [65, 1500, 300],
            [700, 600, 65],
            [2000, 130, 100],
            [1, 700, 2000],
            [2000, 700, 1],
        ] {
            let lhs = MatRef::new(&numbers, [rows, inner]);
            let transposed = MatRef::new(&numbers, [inner, rows]).transposed();
            let rhs = MatRef::new(&numbers[..inner * cols], [inner, cols]);
            for lhs in [lhs, transposed] {
                let alone = bits(1, lhs, rhs);
                for threads in [2, 3, 7] {
                    let same = bits(threads, lhs, rhs) == alone;
                    assert!(same, "{rows} x {inner} x {cols} on {threads} threads");
                }
            }
        }
    }
}
