//! Preparation of tensors for kernel launches.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::{AddressType, CubeCount};
use burn_cubecl::kernel::into_contiguous_aligned;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Maximum number of cubes along the first dimension; Vulkan guarantees 65,535.
const ACROSS: u32 = 1 << 15;

/// The tensor with contiguous rows, which may be apart from each other.
pub(crate) fn in_rows<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    into_contiguous_aligned(tensor)
}

/// Uninitialized output on the device of an input.
pub(crate) fn empty<R: CubeRuntime, const D: usize>(
    like: &CubeTensor<R>,
    shape: [usize; D],
    dtype: DType,
) -> CubeTensor<R> {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_dtype(client, device, Shape::from(shape), dtype)
}

/// Width of an index that reaches every element of all tensors.
pub(crate) fn addresses<R: CubeRuntime>(tensors: &[&CubeTensor<R>]) -> AddressType {
    let needed = tensors.iter().map(|tensor| tensor.required_address_type());
    needed.max().unwrap_or_default()
}

/// At least one cube per row; a kernel must stop cubes past the last row.
pub(crate) fn cube_each(rows: usize) -> CubeCount {
    let rows = rows as u32;
    CubeCount::Static(rows.min(ACROSS), rows.div_ceil(ACROSS), 1)
}
