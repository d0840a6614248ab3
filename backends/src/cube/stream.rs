//! Runs an operation of the inner backend as one operation of burn-fusion's stream, in order and without waiting.

use std::fmt;
use std::marker::PhantomData;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_fusion::stream::{Operation, OperationStreams};
use burn_fusion::{Fusion, FusionBackend, FusionHandle};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorId, TensorIr};

use crate::autodiff::{primitive, wrap};

/// A tensor of the inner backend in the stream's memory.
pub(super) type Handle<B> = FusionHandle<<B as FusionBackend>::FusionRuntime>;

/// A tensor of the stream.
pub(super) type Streamed<B> = FloatTensor<Fusion<B>>;

/// Inputs of an operation, in the order of registration.
pub(super) struct Inputs<'a, B: FusionBackend> {
    tensors: std::slice::Iter<'a, TensorIr>,
    handles: &'a mut HandleContainer<Handle<B>>,
}

impl<B: FusionBackend> Inputs<'_, B> {
    /// The next input, a floating-point tensor.
    pub(super) fn floats<const D: usize>(&mut self) -> Tensor<B, D> {
        let next = self.tensors.next().expect("registered with the operation");
        wrap(self.handles.get_float_tensor::<B>(next))
    }

    /// The next input, an integer tensor.
    pub(super) fn integers<const D: usize>(&mut self) -> Tensor<B, D, Int> {
        let next = self.tensors.next().expect("registered with the operation");
        Tensor::from_primitive(self.handles.get_int_tensor::<B>(next))
    }
}

/// Handle of a floating-point output.
pub(super) fn floats<B: FusionBackend, const D: usize>(tensor: Tensor<B, D>) -> Handle<B> {
    B::float_tensor_handle(primitive(tensor))
}

/// Handle of an integer output.
pub(super) fn integers<B: FusionBackend, const D: usize>(tensor: Tensor<B, D, Int>) -> Handle<B> {
    B::int_tensor_handle(tensor.into_primitive())
}

/// Appends an operation with one output to the stream; `compute` runs when it is executed.
pub(super) fn append<B: FusionBackend, const D: usize>(
    name: &'static str,
    inputs: Vec<Streamed<B>>,
    (shape, dtype): ([usize; D], DType),
    compute: impl Fn(&mut Inputs<'_, B>) -> Handle<B> + Send + Sync + 'static,
) -> Streamed<B> {
    let [output] = append_several(name, inputs, [(Shape::from(shape), dtype)], move |inputs| {
        [compute(inputs)]
    });
    output
}

/// Appends an operation with several outputs to the stream; `compute` runs when it is executed.
pub(super) fn append_several<B: FusionBackend, const N: usize>(
    name: &'static str,
    inputs: Vec<Streamed<B>>,
    outputs: [(Shape, DType); N],
    compute: impl Fn(&mut Inputs<'_, B>) -> [Handle<B>; N] + Send + Sync + 'static,
) -> [Streamed<B>; N] {
    let client = inputs[0].client.clone();
    let streams = OperationStreams::with_inputs(&inputs);
    let inputs: Vec<TensorIr> = inputs.into_iter().map(|input| input.into_ir()).collect();
    let outputs =
        outputs.map(|(shape, dtype)| TensorIr::uninit(client.create_empty_handle(), shape, dtype));
    let described = CustomOpIr::new(name, &inputs, &outputs);
    let operation = Below {
        name,
        inputs,
        outputs: outputs.map(|output| output.id),
        compute,
        backend: PhantomData::<B>,
    };
    let outputs = client.register(streams, OperationIr::Custom(described), operation);
    outputs.try_into().expect("an operation has its outputs")
}

struct Below<B, C, const N: usize> {
    name: &'static str,
    inputs: Vec<TensorIr>,
    outputs: [TensorId; N],
    compute: C,
    backend: PhantomData<B>,
}

impl<B, C, const N: usize> fmt::Debug for Below<B, C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<B, C, const N: usize> Operation<B::FusionRuntime> for Below<B, C, N>
where
    B: FusionBackend,
    C: Fn(&mut Inputs<'_, B>) -> [Handle<B>; N] + Send + Sync,
{
    fn execute(&self, handles: &mut HandleContainer<Handle<B>>) {
        let mut inputs = Inputs {
            tensors: self.inputs.iter(),
            handles,
        };
        let outputs = (self.compute)(&mut inputs);
        for (id, output) in self.outputs.iter().zip(outputs) {
            handles.register_handle(*id, output);
        }
    }
}
