//! Triangular systems of the delta rule.

/// Solves `(I + L) U = W` in place of `W`, with rows of `width`; `lower(i, j)` is `L` below the diagonal.
pub(super) fn solve(rows: &mut [f32], width: usize, lower: impl Fn(usize, usize) -> f32) {
    for row in 1..rows.len() / width {
        let (before, rest) = rows.split_at_mut(row * width);
        for (column, known) in before.chunks_exact(width).enumerate() {
            subtract(&mut rest[..width], lower(row, column), known);
        }
    }
}

/// Solves `(I + L)^T W = U` in place of `U`.
pub(super) fn solve_transposed(
    rows: &mut [f32],
    width: usize,
    lower: impl Fn(usize, usize) -> f32,
) {
    for row in (1..rows.len() / width).rev() {
        let (before, rest) = rows.split_at_mut(row * width);
        for (column, to) in before.chunks_exact_mut(width).enumerate() {
            subtract(to, lower(row, column), &rest[..width]);
        }
    }
}

fn subtract(from: &mut [f32], factor: f32, values: &[f32]) {
    for (from, value) in from.iter_mut().zip(values) {
        *from -= factor * value;
    }
}
