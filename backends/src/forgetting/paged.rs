//! Forgetting attention of the newest positions of a sequence to its paged cache.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::Forgetting;
use crate::attention::AttentionMask;
use crate::ops::Ops;
use crate::paged::Page;

/// Paged cache of a sequence, its newest positions included. Several sequences of one length are stored as
/// additional heads.
#[derive(Debug, Clone)]
pub struct Seen<'a, B: Backend> {
    /// Pages of keys in order, `[page_len, key_heads, dim]` each.
    pub keys: &'a [Page<B>],
    /// Pages of values, `[page_len, heads, value_dim]` each.
    pub values: &'a [Page<B>],
    /// Pages of the cumulative log of the forget gates, f32, `[page_len, heads, 1]` each.
    pub kept: &'a [Page<B>],
    /// Number of positions in use.
    pub len: usize,
}

/// See [`Ops::forgetting_paged`]. Concatenates the pages.
pub fn forgetting_paged<B: Ops>(
    query: Tensor<B, 3>,
    seen: &Seen<'_, B>,
    scale: f64,
) -> Tensor<B, 3> {
    let dtype = query.dtype();
    let all = |pages: &[Page<B>]| {
        let pages = pages.iter().map(Page::numbers).collect();
        let all = Tensor::cat(pages, 0).narrow(0, 0, seen.len);
        all.unsqueeze::<4>()
    };
    let kept = all(seen.kept);
    let [_, seq, heads, _] = kept.dims();
    let input = Forgetting {
        query: query.unsqueeze(),
        key: all(seen.keys).cast(dtype),
        value: all(seen.values).cast(dtype),
        kept: kept.reshape([1, seq, heads]),
    };
    B::forgetting_attention(input, &AttentionMask::Causal, scale).squeeze_dim(0)
}
