//! Transposition of matrices of any element type.

use std::borrow::Cow;

use super::RawTensor;
use crate::model::weights;

/// Transposes a matrix `[rows, cols]`; other tensors are unchanged.
pub(super) fn transposed(tensor: RawTensor<'_>) -> RawTensor<'static> {
    let [rows, cols] = tensor.shape[..] else {
        return RawTensor {
            bytes: Cow::Owned(tensor.bytes.into_owned()),
            ..tensor
        };
    };
    let size = tensor.dtype.bitsize() / 8;
    let bytes = weights::transposed(&tensor.bytes, [rows, cols], size);
    RawTensor {
        dtype: tensor.dtype,
        shape: vec![cols, rows],
        bytes: Cow::Owned(bytes),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;

    #[test]
    fn a_matrix_is_transposed_and_back() {
        let shape = vec![35, 70];
        let values: Vec<u8> = (0..35 * 70 * 2).map(|value| (value % 251) as u8).collect();
        let matrix = RawTensor {
            dtype: Dtype::BF16,
            shape,
            bytes: Cow::Owned(values),
        };
        let turned = transposed(matrix.clone());
        assert_eq!(turned.shape, [70, 35]);
        let (row, col) = (3, 41);
        let (from, to) = ((row * 70 + col) * 2, (col * 35 + row) * 2);
        assert_eq!(matrix.bytes[from..from + 2], turned.bytes[to..to + 2]);
        assert_eq!(transposed(turned), matrix);
    }
}
