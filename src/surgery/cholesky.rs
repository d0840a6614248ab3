//! Cholesky decomposition of a symmetric positive definite matrix, in f64.

use rayon::prelude::*;

/// Lower triangle `L` with `A = L L^T`, row-major; the upper half of the buffer is not used.
#[derive(Debug)]
pub(in crate::surgery) struct Cholesky {
    size: usize,
    lower: Vec<f64>,
}

/// Columns that are eliminated at a time.
const BLOCK: usize = 64;

/// Right-hand sides that are solved for at a time.
const PANEL: usize = 64;

impl Cholesky {
    /// Decomposes `matrix`, `[size, size]`, of which the lower half is read. `None` if it is not positive definite.
    pub(in crate::surgery) fn of(mut matrix: Vec<f64>, size: usize) -> Option<Self> {
        for first in (0..size).step_by(BLOCK) {
            let end = (first + BLOCK).min(size);
            let (above, below) = matrix.split_at_mut(end * size);
            // the rows of the block itself
            for row in first..end {
                let (done, rest) = above.split_at_mut(row * size);
                let rest = &mut rest[..size];
                for column in first..row {
                    let of_column = &done[column * size..][..size];
                    let product = dot(&rest[first..column], &of_column[first..column]);
                    rest[column] = (rest[column] - product) / of_column[column];
                }
                let pivot = rest[row] - dot(&rest[first..row], &rest[first..row]);
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return None;
                }
                rest[row] = pivot.sqrt();
            }
            let above = &above[first * size..];
            below.par_chunks_mut(size).for_each(|row| {
                for column in first..end {
                    let of_column = &above[(column - first) * size..][..size];
                    let product = dot(&row[first..column], &of_column[first..column]);
                    row[column] = (row[column] - product) / of_column[column];
                }
            });
            // what the block takes from the rest of the lower half
            let block: Vec<f64> = below
                .par_chunks(size)
                .flat_map_iter(|row| row[first..end].iter().copied())
                .collect();
            let width = end - first;
            below
                .par_chunks_mut(size)
                .enumerate()
                .for_each(|(at, row)| {
                    let own = &block[at * width..][..width];
                    for (other, value) in row[end..=end + at].iter_mut().enumerate() {
                        *value -= dot(own, &block[other * width..][..width]);
                    }
                });
        }
        Some(Self {
            size,
            lower: matrix,
        })
    }

    /// Solves `A x = b`.
    pub(in crate::surgery) fn solve(&self, mut vector: Vec<f64>) -> Vec<f64> {
        let size = self.size;
        for row in 0..size {
            let lower = &self.lower[row * size..][..=row];
            vector[row] = (vector[row] - dot(&lower[..row], &vector[..row])) / lower[row];
        }
        for row in (0..size).rev() {
            let lower = &self.lower[row * size..][..=row];
            let value = vector[row] / lower[row];
            vector[row] = value;
            for (other, factor) in vector[..row].iter_mut().zip(lower) {
                *other -= factor * value;
            }
        }
        vector
    }
}

impl Cholesky {
    /// Solves `A X = B` for a matrix `B`, `[size, columns]`, row-major.
    pub(in crate::surgery) fn solve_matrix(&self, right: &[f64], columns: usize) -> Vec<f64> {
        let firsts: Vec<usize> = (0..columns).step_by(PANEL).collect();
        let panels: Vec<Vec<f64>> = firsts
            .par_iter()
            .map(|&first| {
                let width = PANEL.min(columns - first);
                let rows = right.chunks(columns);
                let mut panel: Vec<f64> = rows
                    .flat_map(|row| row[first..first + width].iter().copied())
                    .collect();
                self.solve_panel(&mut panel, width);
                panel
            })
            .collect();
        let mut solved = vec![0.0; right.len()];
        for (panel, first) in panels.iter().zip(firsts) {
            let width = PANEL.min(columns - first);
            let rows = solved.chunks_mut(columns.max(1)).zip(panel.chunks(width));
            rows.for_each(|(row, own)| row[first..first + width].copy_from_slice(own));
        }
        solved
    }

    /// Solves for the columns of `panel`, `[size, width]`, in place.
    fn solve_panel(&self, panel: &mut [f64], width: usize) {
        let size = self.size;
        let minus = |row: &mut [f64], other: &[f64], factor: f64| {
            let pairs = row.iter_mut().zip(other);
            pairs.for_each(|(value, other)| *value -= factor * other);
        };
        for at in 0..size {
            let lower = &self.lower[at * size..][..=at];
            let (done, rest) = panel.split_at_mut(at * width);
            let row = &mut rest[..width];
            for (other, factor) in done.chunks(width).zip(lower) {
                minus(row, other, *factor);
            }
            row.iter_mut().for_each(|value| *value /= lower[at]);
        }
        for at in (0..size).rev() {
            let lower = &self.lower[at * size..][..=at];
            let (rest, row) = panel.split_at_mut(at * width);
            let row = &mut row[..width];
            row.iter_mut().for_each(|value| *value /= lower[at]);
            for (other, factor) in rest.chunks_mut(width).zip(lower) {
                minus(other, row, *factor);
            }
        }
    }
}

/// Dot product, summed in eight lanes.
pub(in crate::surgery) fn dot(left: &[f64], right: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(a, b)| a * b);
    sums.into_iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `B B^T + I` of a matrix with mixed entries.
    fn definite(size: usize) -> Vec<f64> {
        let entry = |row: usize, column: usize| ((row * 31 + column * 17) % 23) as f64 / 11.0 - 1.0;
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..size {
                let products = (0..size).map(|it| entry(row, it) * entry(column, it));
                matrix[row * size + column] = products.sum::<f64>() + f64::from(row == column);
            }
        }
        matrix
    }

    #[test]
    fn a_solution_solves_the_equations_whatever_the_size() {
        for size in [1, 5, 64, 65, 130, 200] {
            let matrix = definite(size);
            let expected: Vec<f64> = (0..size).map(|at| (at % 7) as f64 - 3.0).collect();
            let right: Vec<f64> = matrix
                .chunks(size)
                .map(|row| row.iter().zip(&expected).map(|(a, b)| a * b).sum())
                .collect();
            let solved = Cholesky::of(matrix, size).unwrap().solve(right);
            for (found, expected) in solved.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{size}: {found}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn columns_are_solved_for_as_vectors_are() {
        for (size, columns) in [(1, 1), (65, 3), (70, 64), (40, 130)] {
            let solver = Cholesky::of(definite(size), size).unwrap();
            let right = |at: usize| ((at * 37) % 29) as f64 - 14.0;
            let right: Vec<f64> = (0..size * columns).map(right).collect();
            let found = solver.solve_matrix(&right, columns);
            for column in 0..columns {
                let of_column = |from: &[f64]| -> Vec<f64> {
                    from.iter().skip(column).step_by(columns).copied().collect()
                };
                let expected = solver.solve(of_column(&right));
                for (found, expected) in of_column(&found).iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_has_no_decomposition() {
        assert!(Cholesky::of(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::of(vec![f64::NAN], 1).is_none());
    }
}
