//! Positions of a GGUF tensor's elements in the Hugging Face tensor that they come from.
//!
//! One mapping serves both directions: reading along it converts to GGUF, writing along it converts back, so that the
//! two are inverse by construction.

use crate::model::ModelConfig;

/// Dimensions within `kv_b_proj`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MlaDims {
    pub(super) kv_lora_rank: usize,
    pub(super) qk_nope_head_dim: usize,
    pub(super) v_head_dim: usize,
}

impl MlaDims {
    /// The dimensions of a model; `None` if it has no latent attention.
    pub(super) fn of(model: &ModelConfig) -> Option<Self> {
        let mla = model.mixer.mla.as_ref()?;
        Some(Self {
            kv_lora_rank: mla.kv_lora_rank,
            qk_nope_head_dim: mla.qk_nope_head_dim,
            v_head_dim: mla.v_head_dim,
        })
    }
}

/// Order of a GGUF tensor's rows, and of the values in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gather {
    /// The checkpoint's order.
    Same,
    /// Rows of `q_proj` and `k_proj`: Hugging Face rotates the pairs `(x_j, x_{j+d/2})` of a head, llama.cpp's
    /// architecture `llama` rotates `(x_{2j}, x_{2j+1})`. Row `2j + s` of a head is the checkpoint's row `j + s d/2`.
    Rotary { head_dim: usize },
    /// The key rows of `kv_b_proj`, transposed per head: `[heads, kv_lora_rank, qk_nope_head_dim]`.
    KeyB(MlaDims),
    /// The value rows of `kv_b_proj`: `[heads, v_head_dim, kv_lora_rank]`.
    ValueB(MlaDims),
}

impl Gather {
    /// Values per row of a GGUF tensor with this shape; 1 for a rotary bias.
    pub(super) fn row_length(self, shape: &[usize]) -> usize {
        match self {
            Self::Rotary { .. } => shape.iter().skip(1).product(),
            _ => shape.last().copied().unwrap_or(1),
        }
    }

    /// Offset and stride of row `row`, with `length` values, in the checkpoint's tensor.
    pub(super) fn row(self, row: usize, length: usize) -> (usize, usize) {
        match self {
            Self::Same => (row * length, 1),
            Self::Rotary { head_dim } => {
                let (head, within) = (row / head_dim, row % head_dim);
                let (pair, side) = (within / 2, within % 2);
                ((head * head_dim + side * (head_dim / 2) + pair) * length, 1)
            }
            Self::KeyB(dims) => {
                let (head, latent) = (row / dims.kv_lora_rank, row % dims.kv_lora_rank);
                let first_row = head * (dims.qk_nope_head_dim + dims.v_head_dim);
                (first_row * dims.kv_lora_rank + latent, dims.kv_lora_rank)
            }
            Self::ValueB(dims) => {
                let (head, within) = (row / dims.v_head_dim, row % dims.v_head_dim);
                let first_row =
                    head * (dims.qk_nope_head_dim + dims.v_head_dim) + dims.qk_nope_head_dim;
                ((first_row + within) * dims.kv_lora_rank, 1)
            }
        }
    }

    /// Copies row `row` out of the checkpoint's tensor, whose elements have `size` bytes.
    ///
    /// # Panics
    ///
    /// If the tensor is shorter than its shape requires, which callers must check.
    pub(super) fn gather(
        self,
        row: usize,
        length: usize,
        size: usize,
        tensor: &[u8],
        out: &mut Vec<u8>,
    ) {
        match self.row(row, length) {
            (start, 1) => out.extend_from_slice(&tensor[start * size..(start + length) * size]),
            (start, step) => {
                for index in 0..length {
                    let at = (start + index * step) * size;
                    out.extend_from_slice(&tensor[at..at + size]);
                }
            }
        }
    }

    /// Copies row `row` to its places in the checkpoint's tensor; the inverse of [`gather`](Self::gather).
    ///
    /// # Panics
    ///
    /// As in [`gather`](Self::gather).
    pub(super) fn scatter(
        self,
        row: usize,
        length: usize,
        size: usize,
        values: &[u8],
        tensor: &mut [u8],
    ) {
        match self.row(row, length) {
            (start, 1) => tensor[start * size..][..values.len()].copy_from_slice(values),
            (start, step) => {
                for (index, value) in values.chunks_exact(size).enumerate() {
                    let at = (start + index * step) * size;
                    tensor[at..at + size].copy_from_slice(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(gather: Gather, shape: &[usize], tensor: &[u8]) -> Vec<u8> {
        let length = gather.row_length(shape);
        let mut out = Vec::new();
        for row in 0..shape.iter().product::<usize>() / length {
            gather.gather(row, length, 1, tensor, &mut out);
        }
        out
    }

    #[test]
    fn rotary_halves_become_pairs_in_each_head() {
        let heads = [0, 1, 2, 3, 4, 5, 6, 7];
        let gather = Gather::Rotary { head_dim: 4 };
        assert_eq!(gathered(gather, &[8], &heads), [0, 2, 1, 3, 4, 6, 5, 7]);
        let rows = [0, 10, 1, 11, 2, 12, 3, 13];
        assert_eq!(
            gathered(gather, &[4, 2], &rows),
            [0, 10, 2, 12, 1, 11, 3, 13]
        );
    }

    #[test]
    fn kv_b_is_split_by_head_and_its_keys_are_transposed() {
        let dims = MlaDims {
            kv_lora_rank: 3,
            qk_nope_head_dim: 2,
            v_head_dim: 1,
        };
        // Two heads of rows k0, k1, v0 with three columns each.
        let tensor: Vec<u8> = (0..18).collect();
        let keys = [0, 3, 1, 4, 2, 5, 9, 12, 10, 13, 11, 14];
        assert_eq!(gathered(Gather::KeyB(dims), &[2, 3, 2], &tensor), keys);
        assert_eq!(
            gathered(Gather::ValueB(dims), &[2, 1, 3], &tensor),
            [6, 7, 8, 15, 16, 17]
        );
    }
}
