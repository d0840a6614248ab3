//! Rows into a page, in place.

use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::Flex;

use crate::flex::product::Element;
use crate::flex::rows::{View, memory, with_element};

/// See [`Ops::write_rows`](crate::Ops::write_rows): in place when nobody else holds the page.
pub(crate) fn write_rows(
    page: Tensor<Flex, 3>,
    at: usize,
    rows: Tensor<Flex, 3>,
) -> Tensor<Flex, 3> {
    let [count, heads, dim] = rows.dims();
    let [page_len, page_heads, page_dim] = page.dims();
    assert!(at + count <= page_len && [heads, dim] == [page_heads, page_dim]);
    let dtype = page.dtype();
    let mut page = memory(page);
    if !page.is_contiguous() {
        page = page.to_contiguous();
    }
    let rows = View::rows(rows);
    let start = page.layout().start_offset() + at * heads * dim;
    with_element!(dtype, E => {
        let to = &mut page.storage_mut::<E>()[start..start + count * heads * dim];
        for (index, to) in to.chunks_exact_mut(dim.max(1)).enumerate() {
            let from = index / heads * rows.stride(0) + index % heads * rows.stride(1);
            for (to, from) in to.iter_mut().zip(&rows.data()[from..from + dim]) {
                *to = <E as Element>::narrow(*from);
            }
        }
    });
    Tensor::from_primitive(TensorPrimitive::Float(page))
}
