//! Writes rows into a page, in place.

use burn::tensor::{DType, Int, Tensor, TensorPrimitive, f16};
use burn_flex::{Flex, FlexTensor};

use super::{BlockRows, Page, reference};
use crate::flex::product::Element;
use crate::flex::rows::{View, memory, stored, with_element};
use crate::flex::simd::{kernel, max};
use crate::quantized::{BLOCK, Quantized};

/// See [`Ops::write_rows`](crate::Ops::write_rows). In place if nothing else holds the page.
pub(crate) fn write_rows(page: Page<Flex>, at: usize, rows: Tensor<Flex, 3>) -> Page<Flex> {
    let [count, heads, dim] = rows.dims();
    let [page_len, page_heads, page_dim] = page.dims();
    assert!(at + count <= page_len && [heads, dim] == [page_heads, page_dim]);
    match page {
        Page::Numbers(page) if stored(page.dtype()) => Page::Numbers(write_numbers(page, at, rows)),
        Page::Blocks(page) if page.blocks.scales.dtype() == DType::F16 => {
            Page::Blocks(write_blocks(page, at, rows))
        }
        page => reference::write_rows(page, at, rows),
    }
}

fn write_numbers(page: Tensor<Flex, 3>, at: usize, rows: Tensor<Flex, 3>) -> Tensor<Flex, 3> {
    let [count, heads, dim] = rows.dims();
    let dtype = page.dtype();
    let mut page = in_order(memory(page));
    let rows = View::rows(rows);
    let start = page.layout().start_offset() + at * heads * dim;
    with_element!(dtype, E => {
        let to = &mut page.storage_mut::<E>()[start..start + count * heads * dim];
        for (index, to) in to.chunks_exact_mut(dim.max(1)).enumerate() {
            for (to, from) in to.iter_mut().zip(row_of(&rows, index)) {
                *to = <E as Element>::narrow(*from);
            }
        }
    });
    Tensor::from_primitive(TensorPrimitive::Float(page))
}

fn write_blocks(page: BlockRows<Flex>, at: usize, rows: Tensor<Flex, 3>) -> BlockRows<Flex> {
    let [count, heads, dim] = rows.dims();
    let BlockRows { blocks, .. } = page;
    let [_, _, words] = blocks.values.dims();
    let [_, _, scale_count] = blocks.scales.dims();
    let mut values = in_order(blocks.values.into_primitive());
    let mut scales = in_order(memory(blocks.scales));
    let rows = View::rows(rows);
    let range = |tensor: &FlexTensor, width: usize| {
        let start = tensor.layout().start_offset() + at * heads * width;
        start..start + count * heads * width
    };
    let (to_values, to_scales) = (range(&values, words), range(&scales, scale_count));
    let values_of = &mut values.storage_mut::<i32>()[to_values];
    let scales_of = &mut scales.storage_mut::<f16>()[to_scales];
    let pairs = values_of
        .chunks_exact_mut(words)
        .zip(scales_of.chunks_exact_mut(scale_count));
    for (index, (values, scales)) in pairs.enumerate() {
        let bytes = bytemuck::cast_slice_mut(values);
        round(row_of(&rows, index), bytes, scales);
    }
    BlockRows {
        blocks: Quantized {
            values: Tensor::<Flex, 3, Int>::from_primitive(values),
            scales: Tensor::from_primitive(TensorPrimitive::Float(scales)),
            bits: blocks.bits,
        },
        dim,
    }
}

kernel! {
    /// Quantizes a row in blocks, padded with zeros.
    fn round<'a>(row: &'a [f32], bytes: &'a mut [i8], scales: &'a mut [f16]) {
        let blocks = bytes.chunks_exact_mut(BLOCK).zip(scales);
        for ((bytes, to), row) in blocks.zip(row.chunks(BLOCK)) {
            let mut block = [0.0; BLOCK];
            block[..row.len()].copy_from_slice(row);
            let magnitudes = block.map(f32::abs);
            let scale = f16::from_f32((max(&magnitudes) / 127.0).min(65_504.0));
            *to = scale;
            let by = match scale.to_f32() {
                0.0 => 1.0,
                scale => 1.0 / scale,
            };
            for (byte, number) in bytes.iter_mut().zip(block) {
                *byte = (number * by).round_ties_even().clamp(-127.0, 127.0) as i8;
            }
        }
    }
}

/// The tensor with its elements in row-major order.
fn in_order(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Row `index` of rows `[count, heads]`.
fn row_of(rows: &View<3>, index: usize) -> &[f32] {
    let [_, heads, dim] = rows.shape();
    let from = index / heads * rows.stride(0) + index % heads * rows.stride(1);
    &rows.data()[from..from + dim]
}
