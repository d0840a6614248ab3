//! burn-flex tensors as rows in memory, and parallel work on rows.

use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType, Element, Int, Shape, Tensor, TensorPrimitive};
use burn_flex::{Flex, FlexTensor, Layout};

use super::matrix::{MatRef, Threads};
use super::team;

/// Minimum number of elements per parallel task, about ten microseconds of work.
const TASK_ELEMENTS: usize = 16 * 1024;

/// The tensor's storage.
pub(crate) fn memory<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    tensor.into_primitive().tensor()
}

/// A tensor of `values` in row-major order.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    let layout = Layout::contiguous(Shape::from(shape));
    let memory = FlexTensor::new(Bytes::from_elems(values), layout, DType::F32);
    Tensor::from_primitive(TensorPrimitive::Float(memory))
}

/// Whether all types are f32, which the fast forms require.
pub(crate) fn all_f32(types: &[DType]) -> bool {
    types.iter().all(|dtype| *dtype == DType::F32)
}

/// Whether weights of an f32 model may have this type.
pub(crate) fn stored(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
}

/// Evaluates `body` with a type alias for the element of a [`stored`] type.
macro_rules! with_element {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            burn::tensor::DType::BF16 => {
                type $element = burn::tensor::bf16;
                $body
            }
            burn::tensor::DType::F16 => {
                type $element = burn::tensor::f16;
                $body
            }
            _ => {
                type $element = f32;
                $body
            }
        }
    };
}
pub(crate) use with_element;

/// Integers of a tensor of any integer type, in row-major order.
///
/// # Panics
///
/// If one is negative.
pub(crate) fn indices<B: Backend, const D: usize>(tensor: Tensor<B, D, Int>) -> Vec<usize> {
    let index = |value: i64| usize::try_from(value).expect("an index is not negative");
    tensor.into_data().iter::<i64>().map(index).collect()
}

/// A tensor that is read in place, with any strides.
#[derive(Debug)]
pub(crate) struct View<const D: usize> {
    memory: FlexTensor,
    shape: [usize; D],
    strides: [usize; D],
}

impl<const D: usize> View<D> {
    /// Copies the tensor only if it has negative strides.
    pub(crate) fn strided(tensor: Tensor<Flex, D>) -> Self {
        let shape = tensor.dims();
        let mut memory = memory(tensor);
        if memory.layout().strides().iter().any(|stride| *stride < 0) {
            memory = memory.to_contiguous();
        }
        let mut strides = [0; D];
        for (to, from) in strides.iter_mut().zip(memory.layout().strides()) {
            *to = from.unsigned_abs();
        }
        Self {
            memory,
            shape,
            strides,
        }
    }

    /// Copies the tensor only if its rows are not contiguous.
    pub(crate) fn rows(tensor: Tensor<Flex, D>) -> Self {
        let view = Self::strided(tensor);
        if view.strides[D - 1] == 1 || view.shape[D - 1] == 1 {
            return view;
        }
        let memory = view.memory.to_contiguous();
        let mut strides = [1; D];
        for dim in (1..D).rev() {
            strides[dim - 1] = strides[dim] * view.shape[dim];
        }
        Self {
            memory,
            strides,
            ..view
        }
    }

    /// Copies the tensor only if it is not contiguous.
    pub(crate) fn contiguous(tensor: Tensor<Flex, D>) -> Self {
        let shape = tensor.dims();
        Self::in_order(memory(tensor), shape)
    }

    /// Integers, copied only if they are not contiguous.
    pub(crate) fn integers(tensor: Tensor<Flex, D, Int>) -> Self {
        let shape = tensor.dims();
        Self::in_order(tensor.into_primitive(), shape)
    }

    fn in_order(mut memory: FlexTensor, shape: [usize; D]) -> Self {
        if !memory.is_contiguous() {
            memory = memory.to_contiguous();
        }
        let mut strides = [1; D];
        for dim in (1..D).rev() {
            strides[dim - 1] = strides[dim] * shape[dim];
        }
        Self {
            memory,
            shape,
            strides,
        }
    }

    pub(crate) fn shape(&self) -> [usize; D] {
        self.shape
    }

    pub(crate) fn stride(&self, dim: usize) -> usize {
        self.strides[dim]
    }

    /// Storage from the first element on.
    pub(crate) fn data(&self) -> &[f32] {
        self.data_of::<f32>()
    }

    /// Storage from the first element on, of any element type.
    ///
    /// # Panics
    ///
    /// If the tensor has another element type.
    pub(crate) fn data_of<E: Element + bytemuck::Pod>(&self) -> &[E] {
        let start = self.memory.layout().start_offset();
        let all = self.memory.storage::<E>();
        &all[start.min(all.len())..]
    }
}

impl View<1> {
    /// All elements.
    pub(crate) fn slice(&self) -> &[f32] {
        &self.data()[..self.shape[0]]
    }
}

impl<const D: usize> View<D> {
    /// Matrix `index` of a stack, or the only matrix.
    pub(crate) fn matrix_at<E: Element + bytemuck::Pod>(&self, index: usize) -> MatRef<'_, E> {
        let (shape, strides) = (&self.shape[D - 2..], &self.strides[D - 2..]);
        let stride = if D > 2 { self.strides[D - 3] } else { 0 };
        let data = self.data_of();
        let start = (index * stride).min(data.len());
        MatRef::strided(
            &data[start..],
            [shape[0], shape[1]],
            [strides[0], strides[1]],
        )
    }
}

impl View<2> {
    /// The view as a matrix.
    pub(crate) fn matrix(&self) -> MatRef<'_> {
        self.matrix_of()
    }

    /// The view as a matrix of any element type.
    pub(crate) fn matrix_of<E: Element + bytemuck::Pod>(&self) -> MatRef<'_, E> {
        MatRef::strided(self.data_of(), self.shape, self.strides)
    }
}

/// Number of rows of `width` elements per task. It depends on nothing else, so sums over tasks do not depend on the
/// number of threads.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (TASK_ELEMENTS / width.max(1)).max(1)
}

/// Calls `work(first row, rows)` on pieces of `out`, in parallel if `threads` allows it.
pub(crate) fn for_each_rows(
    threads: Threads,
    out: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = rows_per_task(width);
    if out.is_empty() {
        return;
    }
    if out.len() <= rows * width || threads == Threads::One {
        return work(0, out);
    }
    let pieces = out.chunks_mut(rows * width).enumerate().collect();
    team::each(
        pieces,
        || (),
        |(), (task, piece): (usize, &mut [f32])| work(task * rows, piece),
    );
}
