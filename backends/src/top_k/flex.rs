//! Top-k with a sorted list of the best entries so far, rows in parallel.

use burn::tensor::{Bytes, DType, Int, Shape, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};

use crate::flex::rows::{View, rows_per_task};
use crate::flex::team;

/// See [`Ops::top_k`](crate::Ops::top_k).
pub(crate) fn top_k(scores: Tensor<Flex, 2>, k: usize) -> Tensor<Flex, 2, Int> {
    let [tokens, experts] = scores.dims();
    assert!(k <= experts, "`k` is {k}, expected at most {experts}");
    let scores = View::rows(scores);
    let scores = scores.matrix();
    let mut chosen = vec![0_i32; tokens * k];
    let rows = rows_per_task(experts);
    let pieces = chosen.chunks_mut((rows * k).max(1)).enumerate().collect();
    team::each(
        pieces,
        || (),
        |(), (task, chosen): (usize, &mut [i32])| {
            for (row, chosen) in chosen.chunks_exact_mut(k).enumerate() {
                largest(chosen, scores.row(task * rows + row));
            }
        },
    );
    let layout = Layout::contiguous(Shape::from([tokens, k]));
    Tensor::from_primitive(FlexTensor::new(
        Bytes::from_elems(chosen),
        layout,
        DType::I32,
    ))
}

/// Indices of the largest scores, largest first; ties go to the lowest index.
fn largest(chosen: &mut [i32], scores: &[f32]) {
    let mut known = 0;
    for (index, score) in scores.iter().enumerate() {
        let mut place = known;
        while place > 0 && *score > scores[chosen[place - 1] as usize] {
            place -= 1;
        }
        if place == chosen.len() {
            continue;
        }
        known = (known + 1).min(chosen.len());
        chosen[place..known].rotate_right(1);
        chosen[place] = index as i32;
    }
}
