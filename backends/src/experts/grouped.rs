//! Each expert sees its own tokens only: assignments are sorted by expert on the host, one matrix
//! product per expert and projection runs on the device. For any backend.

use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::Projections;

/// See [`Ops::experts`](crate::Ops::experts).
pub fn experts<B: Backend>(
    input: Tensor<B, 2>,
    projections: Projections<B>,
    indices: Tensor<B, 2, Int>,
    weights: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let device = input.device();
    let [tokens, hidden] = input.dims();
    let [_, k] = indices.dims();
    let [experts, _, width] = projections.gate.dims();
    let flat_weights = weights.reshape([tokens * k, 1]);

    let mut sources = Vec::new();
    let mut outputs = Vec::new();
    for (expert, slots) in slots_by_expert(indices, experts).into_iter().enumerate() {
        if slots.is_empty() {
            continue;
        }
        let rows: Vec<i64> = slots.iter().map(|slot| slot / k as i64).collect();
        let count = slots.len();
        let slots = Tensor::<B, 1, Int>::from_data(TensorData::new(slots, [count]), &device);
        let rows = Tensor::<B, 1, Int>::from_data(TensorData::new(rows, [count]), &device);
        let of = |stack: &Tensor<B, 3>, shape: [usize; 2]| {
            stack.clone().narrow(0, expert, 1).reshape(shape)
        };

        let chosen = input.clone().select(0, rows.clone());
        let inner = silu(chosen.clone().matmul(of(&projections.gate, [hidden, width])))
            * chosen.matmul(of(&projections.up, [hidden, width]));
        let output = inner.matmul(of(&projections.down, [width, hidden]));
        outputs.push(output * flat_weights.clone().select(0, slots));
        sources.push(rows);
    }

    let zeros = Tensor::<B, 2>::zeros([tokens, hidden], &device).cast(input.dtype());
    if outputs.is_empty() {
        return zeros;
    }
    zeros.select_assign(
        0,
        Tensor::cat(sources, 0),
        Tensor::cat(outputs, 0),
        IndexingUpdateOp::Add,
    )
}

/// Positions in the flattened `[tokens * k]` assignments that chose each expert, in token order.
fn slots_by_expert<B: Backend>(indices: Tensor<B, 2, Int>, experts: usize) -> Vec<Vec<i64>> {
    let mut slots = vec![Vec::new(); experts];
    for (slot, expert) in indices.into_data().iter::<i64>().enumerate() {
        slots[expert as usize].push(slot as i64);
    }
    slots
}
