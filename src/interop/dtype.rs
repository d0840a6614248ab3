//! Element types that models are exchanged in, as a file and as burn name them.

use burn::tensor::DType;
use safetensors::Dtype;

use crate::model::weights::WeightSource;

/// burn's name of a file's type; none for what no weights are exchanged in.
pub(super) fn to_burn(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// A file's name of burn's type; none for what no weights are exchanged in.
pub(super) fn to_file(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F32 | DType::Flex32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}

/// The type that a model's weights have: that of its embedding table.
pub fn weights_dtype(weights: &dyn WeightSource) -> Option<Dtype> {
    weights.dtype("embed_tokens").and_then(to_file)
}
