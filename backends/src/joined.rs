//! Backends of burn 0.21 that use the default implementations. Backends with forms of their own implement [`Ops`]
//! beside these forms.

#[cfg(any(feature = "ndarray", feature = "tch"))]
use crate::Ops;

#[cfg(feature = "ndarray")]
impl<E, I, Q> Ops for burn_ndarray::NdArray<E, I, Q>
where
    E: burn_ndarray::FloatNdArrayElement,
    I: burn_ndarray::IntNdArrayElement,
    Q: burn_ndarray::QuantElement,
    burn_ndarray::NdArrayTensor:
        From<burn_ndarray::SharedArray<E>> + From<burn_ndarray::SharedArray<I>>,
{
}

#[cfg(feature = "tch")]
impl<E: burn_tch::TchElement> Ops for burn_tch::LibTorch<E> {}
