//! Attention over pages has no gradient: it runs on the backend below.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::Tensor;

use crate::Ops;
use crate::attention::AttentionOptions;
use crate::paged::{Past, Values};

/// See [`Ops::paged_attention`].
pub(super) fn paged_attention<B: Ops, C: CheckpointStrategy>(
    query: Tensor<Autodiff<B, C>, 3>,
    pasts: &[Past<'_, Autodiff<B, C>>],
    options: AttentionOptions,
) -> Tensor<Autodiff<B, C>, 3> {
    let inner = |pages: &[Tensor<Autodiff<B, C>, 3>]| -> Vec<_> {
        pages.iter().map(|page| page.clone().inner()).collect()
    };
    let pages: Vec<_> = pasts
        .iter()
        .map(|past| match past.values {
            Values::Pages(values) => (inner(past.keys), Some(inner(values))),
            Values::FirstOfKeys(_) => (inner(past.keys), None),
        })
        .collect();
    let pasts: Vec<_> = pasts
        .iter()
        .zip(&pages)
        .map(|(past, (keys, values))| Past {
            keys,
            values: match (values, &past.values) {
                (None, Values::FirstOfKeys(dim)) => Values::FirstOfKeys(*dim),
                (values, _) => Values::Pages(values.as_deref().unwrap_or_default()),
            },
            len: past.len,
            new: past.new,
        })
        .collect();
    Tensor::from_inner(B::paged_attention(query.inner(), &pasts, options))
}
