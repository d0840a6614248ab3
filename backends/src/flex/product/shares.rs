//! Division of weight columns among threads that stream.

use super::STREAM_STEP;
use crate::flex::matrix::MatMut;

/// Task of a thread that streams: columns of one of several matrices.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    /// Index of the matrix.
    pub(crate) matrix: usize,
    /// First column.
    pub(crate) first: usize,
    /// Output for these columns.
    pub(crate) out: MatMut<'a>,
}

/// Splits matrices, side by side, into equal tasks for `threads` threads. A task has as few column ranges as
/// possible, since longer contiguous reads are faster.
pub(crate) fn shares(matrices: Vec<MatMut<'_>>, threads: usize) -> Vec<Share<'_>> {
    let columns: usize = matrices.iter().map(|out| out.shape()[1]).sum();
    let cuts = (1..threads).map(|thread| thread * columns / threads);
    let mut cuts = cuts.peekable();
    let mut shares = Vec::new();
    let mut begin = 0;
    for (matrix, mut out) in matrices.into_iter().enumerate() {
        let [_, width] = out.shape();
        let mut first = 0;
        while let Some(cut) = cuts.next_if(|cut| *cut <= begin + width) {
            let at = (cut - begin).next_multiple_of(STREAM_STEP).min(width);
            if at > first {
                let (left, right) = out.split_at_column(at - first);
                shares.push(Share {
                    matrix,
                    first,
                    out: left,
                });
                (first, out) = (at, right);
            }
        }
        if first < width {
            shares.push(Share { matrix, first, out });
        }
        begin += width;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::shares;
    use crate::flex::matrix::MatMut;
    use crate::flex::product::STREAM_STEP;

    #[test]
    fn shares_cover_every_column_once_in_whole_steps() {
        for (widths, threads) in [
            (vec![1440, 1440], 2),
            (vec![432, 432, 864, 6, 864], 2),
            (vec![576], 3),
            (vec![7, 40, 5], 16),
            (vec![100], 1),
        ] {
            let mut buffers: Vec<Vec<f32>> = widths.iter().map(|width| vec![0.0; *width]).collect();
            let outs = buffers.iter_mut().zip(&widths);
            let outs = outs.map(|(out, width)| MatMut::new(out, [1, *width]));
            for mut share in shares(outs.collect(), threads) {
                assert_eq!(share.first % STREAM_STEP, 0);
                let out = share.out.row(0);
                assert!(!out.is_empty());
                let columns = (share.first..).map(|column| column as f32 + 1.0);
                out.iter_mut()
                    .zip(columns)
                    .for_each(|(out, column)| *out += column);
            }
            for (buffer, width) in buffers.iter().zip(widths) {
                assert!(
                    buffer
                        .iter()
                        .copied()
                        .eq((1..=width).map(|column| column as f32))
                );
            }
        }
    }

    #[test]
    fn a_thread_has_whole_matrices_where_it_can() {
        let mut buffers = [vec![0.0; 1440], vec![0.0; 1440]];
        let outs = buffers.each_mut().map(|out| MatMut::new(out, [1, 1440]));
        let found = shares(outs.into(), 2);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.matrix, it.first, it.out.shape()[1]))
            .collect();
        assert_eq!(found, [(0, 0, 1440), (1, 0, 1440)]);
    }
}
