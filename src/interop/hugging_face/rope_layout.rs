//! Order of the rows that rotary positions turn.
//!
//! Interleaved pairs neighbours, `(0, 1), (2, 3), ...` (DeepSeek); half-split pairs `(j, j + d / 2)`
//! (Llama as Hugging Face stores it, GPT-NeoX). Queries and keys must agree; no other tensor changes.

use std::borrow::Cow;
use std::path::Path;

use super::{HfConfig, LlamaConfig, MixtralConfig};
use crate::interop::{InteropError, RawTensor};

/// Which dimensions are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Neighbours.
    Interleaved,
    /// One of the first half with one of the second.
    HalfSplit,
}

/// Which rows of a projection are turned: the last `rope_dim` of every head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeRows {
    /// Number of heads.
    pub heads: usize,
    /// Rows of one head.
    pub head_dim: usize,
    /// How many of them, at the end, are turned.
    pub rope_dim: usize,
}

impl RopeRows {
    /// The turned rows of a tensor by its name, weight or bias; none if it has none.
    pub fn of(config: &HfConfig, name: &str) -> Option<Self> {
        let (_, name) = name.split_once(".self_attn.")?;
        let projection = name
            .strip_suffix(".weight")
            .or(name.strip_suffix(".bias"))?;
        let heads = config.decoder().num_attention_heads;
        let whole_heads = |heads, head_dim| Self {
            heads,
            head_dim,
            rope_dim: head_dim,
        };
        match (config, projection) {
            (HfConfig::DeepseekV3(config), "q_proj" | "q_b_proj") => Some(Self {
                heads,
                head_dim: config.qk_nope_head_dim + config.qk_rope_head_dim,
                rope_dim: config.qk_rope_head_dim,
            }),
            (HfConfig::DeepseekV3(config), "kv_a_proj_with_mqa") => Some(Self {
                heads: 1,
                head_dim: config.kv_lora_rank + config.qk_rope_head_dim,
                rope_dim: config.qk_rope_head_dim,
            }),
            (HfConfig::Llama(LlamaConfig { head_dim, .. }), "q_proj")
            | (HfConfig::Mixtral(MixtralConfig { head_dim, .. }), "q_proj") => {
                Some(whole_heads(heads, *head_dim))
            }
            (HfConfig::Llama(config), "k_proj") => {
                Some(whole_heads(config.num_key_value_heads, config.head_dim))
            }
            (HfConfig::Mixtral(config), "k_proj") => {
                Some(whole_heads(config.num_key_value_heads, config.head_dim))
            }
            _ => None,
        }
    }

    /// Reorders the turned rows from one layout into another. `path` and `name` are named by errors.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[heads * head_dim, ...]`
    ///
    /// # Errors
    ///
    /// [`InteropError::TensorShape`] if the tensor has not as many rows, or `rope_dim` is odd or larger
    /// than `head_dim`.
    pub fn reorder<'a>(
        &self,
        tensor: RawTensor<'a>,
        [from, to]: [RopeLayout; 2],
        path: &Path,
        name: &str,
    ) -> Result<RawTensor<'a>, InteropError> {
        let rows = self.heads.saturating_mul(self.head_dim);
        let fits = self.rope_dim.is_multiple_of(2) && self.rope_dim <= self.head_dim;
        let row = tensor.bytes.len().checked_div(rows).unwrap_or(0);
        if tensor.shape.first() != Some(&rows) || !fits || row * rows != tensor.bytes.len() {
            let expected = [&[rows], tensor.shape.get(1..).unwrap_or(&[])].concat();
            return Err(InteropError::TensorShape {
                path: path.to_path_buf(),
                name: name.to_owned(),
                found: tensor.shape,
                expected,
            });
        }
        if from == to || row == 0 {
            return Ok(tensor);
        }
        let mut bytes = Vec::with_capacity(tensor.bytes.len());
        for head in tensor.bytes.chunks(self.head_dim * row) {
            let (kept, turned) = head.split_at((self.head_dim - self.rope_dim) * row);
            bytes.extend(kept);
            // a transposition of [2, d / 2] rows into [d / 2, 2], or back
            let (outer, inner) = match to {
                RopeLayout::Interleaved => (self.rope_dim / 2, 2),
                RopeLayout::HalfSplit => (2, self.rope_dim / 2),
            };
            for major in 0..outer {
                for minor in 0..inner {
                    let source = (minor * outer + major) * row;
                    bytes.extend(&turned[source..source + row]);
                }
            }
        }
        Ok(RawTensor {
            bytes: Cow::Owned(bytes),
            ..tensor
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::path::Path;

    use safetensors::Dtype;

    use super::RopeLayout::{HalfSplit, Interleaved};
    use super::RopeRows;
    use crate::interop::hugging_face::{FIXTURES, HfFolder};
    use crate::interop::{RawTensor, TensorSource};

    #[test]
    fn the_interleaved_twin_follows_from_its_half_split_sister() {
        let folder = Path::new(FIXTURES).join("deepseek_v3_halfrope");
        let halves = HfFolder::open(&folder).unwrap();
        let config = halves.config().unwrap();
        assert_eq!(config.rope_layout(), HalfSplit);
        let twin = HfFolder::open(folder.join("interleaved_twin.safetensors")).unwrap();
        let mut turned = halves.names();
        turned.retain(|name| RopeRows::of(&config, name).is_some());
        let mut expected = twin.names();
        turned.sort();
        expected.sort();
        assert_eq!(turned, expected);
        for name in turned {
            let rows = RopeRows::of(&config, &name).unwrap();
            let original = halves.tensor(&name).unwrap();
            let to = |tensor, layouts| rows.reorder(tensor, layouts, &folder, &name).unwrap();
            let interleaved = to(original.clone(), [HalfSplit, Interleaved]);
            assert_eq!(interleaved, twin.tensor(&name).unwrap(), "{name}");
            assert_eq!(to(interleaved.clone(), [Interleaved, HalfSplit]), original);
            let same = to(interleaved.clone(), [Interleaved, Interleaved]);
            assert_eq!(same, interleaved);
        }
    }

    #[test]
    fn whole_heads_turn_in_weights_and_biases() {
        let folder = HfFolder::open(Path::new(FIXTURES).join("llama_tied")).unwrap();
        let config = folder.config().unwrap();
        let turned = folder.names().into_iter();
        let turned = turned.filter(|name| RopeRows::of(&config, name).is_some());
        assert_eq!(turned.count(), 2 * 4);
        let rows = RopeRows {
            heads: 2,
            head_dim: 4,
            rope_dim: 4,
        };
        let bias = RawTensor {
            dtype: Dtype::BF16,
            shape: vec![8],
            bytes: Cow::Owned((0..16).collect()),
        };
        let turned = rows.reorder(bias, [HalfSplit, Interleaved], Path::new("x"), "b");
        let expected = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        assert_eq!(turned.unwrap().bytes, &expected[..]);
    }

    #[test]
    fn other_shapes_are_refused() {
        let tensor = RawTensor {
            dtype: Dtype::U8,
            shape: vec![6, 2],
            bytes: Cow::Owned(vec![0; 12]),
        };
        for (heads, head_dim, rope_dim) in [(2, 4, 4), (2, 3, 3), (2, 3, 4), (0, 3, 2)] {
            let rows = RopeRows {
                heads,
                head_dim,
                rope_dim,
            };
            let layouts = [HalfSplit, Interleaved];
            let error = rows.reorder(tensor.clone(), layouts, Path::new("x"), "q");
            let error = error.unwrap_err().to_string();
            assert!(error.contains("x: tensor `q` has shape [6, 2]"), "{error}");
        }
    }
}
