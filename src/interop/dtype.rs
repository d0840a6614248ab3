//! Conversion between the element types of files and of burn.

use burn::tensor::DType;
use safetensors::Dtype;

use crate::model::weights::WeightSource;

/// burn's element type for a file's; `None` for types that weights do not have.
pub(super) fn to_burn(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// A file's element type for burn's; `None` for types that weights do not have.
pub(super) fn to_file(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F32 | DType::Flex32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}

/// Element type of a model's weights: that of the embedding table.
pub fn weights_dtype(weights: &dyn WeightSource) -> Option<Dtype> {
    weights.dtype("embed_tokens").and_then(to_file)
}
