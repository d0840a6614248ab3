//! Zeroed buffers, cleared piece by piece by the threads that then write them.
//!
//! Clearing a large buffer up front costs one thread a pass over memory; this way a piece is still in its thread's
//! cache when the work on it begins.
#![allow(
    unsafe_code,
    reason = "a buffer has its length once every piece of it was cleared"
)]

use std::mem::MaybeUninit;

use super::rows::rows_per_task;
use super::team;

/// Zeroed buffers of `rows` rows with the given widths, filled by `work(first row, rows)` in parallel pieces.
pub(crate) fn new_rows<const N: usize>(
    rows: usize,
    widths: [usize; N],
    work: impl Fn(usize, [&mut [f32]; N]) + Sync + Send,
) -> [Vec<f32>; N] {
    let step = rows_per_task(widths.into_iter().max().unwrap_or(0));
    new_buffers(rows, widths, step, || (), |(), first, out| work(first, out))
}

/// Zeroed buffers for `count` tasks with the given number of elements each, filled by
/// `work(scratch, task, elements)`.
pub(crate) fn new_parts<S, const N: usize>(
    count: usize,
    sizes: [usize; N],
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize, [&mut [f32]; N]) + Sync + Send,
) -> [Vec<f32>; N] {
    new_buffers(count, sizes, 1, init, work)
}

/// First row of a piece, and its slice of every buffer.
type Piece<'a, const N: usize> = (usize, [&'a mut [MaybeUninit<f32>]; N]);

fn new_buffers<S, const N: usize>(
    rows: usize,
    widths: [usize; N],
    step: usize,
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize, [&mut [f32]; N]) + Sync + Send,
) -> [Vec<f32>; N] {
    let mut buffers = widths.map(|width| Vec::with_capacity(rows * width));
    let mut rests = buffers.each_mut().map(Vec::spare_capacity_mut);
    let pieces = (0..rows).step_by(step).map(|first| {
        let taken = step.min(rows - first);
        let mut piece: [&mut [MaybeUninit<f32>]; N] = std::array::from_fn(|_| Default::default());
        for ((piece, rest), width) in piece.iter_mut().zip(&mut rests).zip(widths) {
            *piece = rest.split_off_mut(..taken * width).unwrap_or_default();
        }
        (first, piece)
    });
    let pieces: Vec<Piece<'_, N>> = pieces.collect();
    let run = |scratch: &mut S, (first, piece): Piece<'_, N>| {
        work(scratch, first, piece.map(cleared));
    };
    match pieces.len() {
        0 => {}
        1 => pieces.into_iter().for_each(|piece| run(&mut init(), piece)),
        _ => team::each(pieces, &init, run),
    }
    for (buffer, width) in buffers.iter_mut().zip(widths) {
        // SAFETY: the pieces cover so many elements of the capacity, and each was cleared.
        unsafe { buffer.set_len(rows * width) };
    }
    buffers
}

fn cleared(piece: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    piece.fill(MaybeUninit::new(0.0));
    // SAFETY: every element was written.
    unsafe { &mut *(std::ptr::from_mut(piece) as *mut [f32]) }
}

#[cfg(test)]
mod tests {
    use super::{new_parts, new_rows};

    #[test]
    fn every_piece_is_cleared_and_worked_on_once() {
        for rows in [0, 1, 7, 40_000] {
            let [numbers, wide] = new_rows(rows, [1, 3], |first, [numbers, wide]| {
                assert_eq!(3 * numbers.len(), wide.len());
                for (at, number) in numbers.iter_mut().enumerate() {
                    *number += (first + at) as f32;
                }
                wide.iter_mut().step_by(3).for_each(|it| *it += 1.0);
            });
            assert_eq!(numbers, (0..rows).map(|at| at as f32).collect::<Vec<_>>());
            assert_eq!(wide, [1.0, 0.0, 0.0].repeat(rows));
        }
    }

    #[test]
    fn a_task_has_a_part_of_every_buffer() {
        let [few, none, many] = new_parts(
            5,
            [2, 0, 30_000],
            || 7.0,
            |seven, task, parts| {
                let [few, none, many] = parts;
                assert_eq!([few.len(), none.len(), many.len()], [2, 0, 30_000]);
                few[1] = task as f32;
                many[task] = *seven;
            },
        );
        assert_eq!(few, [0.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0]);
        assert!(none.is_empty());
        let written = many.iter().enumerate().filter(|(_, it)| **it != 0.0);
        let places: Vec<usize> = written.map(|(at, _)| at).collect();
        assert_eq!(places, [0, 30_001, 60_002, 90_003, 120_004]);
    }
}
