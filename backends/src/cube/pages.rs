//! Paged attention as an operation of the stream.

use burn::tensor::Tensor;
use burn_fusion::{Fusion, FusionBackend};

use super::stream::{Inputs, Streamed, append, floats};
use crate::Ops;
use crate::attention::AttentionOptions;
use crate::autodiff::{primitive, wrap};
use crate::paged::{Page, Past, Values};

/// Description of a [`Past`] without its pages.
struct Described {
    pages: usize,
    /// Width of the values if they are the first columns of the keys.
    first_of_keys: Option<usize>,
    len: usize,
    new: usize,
}

/// See [`Ops::paged_attention`].
pub(super) fn paged_attention<B: FusionBackend + Ops>(
    query: Tensor<Fusion<B>, 3>,
    pasts: &[Past<'_, Fusion<B>>],
    options: AttentionOptions,
) -> Tensor<Fusion<B>, 3> {
    let [tokens, heads, _] = query.dims();
    let value_dim = pasts.iter().find(|past| past.new > 0).map(Past::value_dim);
    let output = ([tokens, heads, value_dim.unwrap_or(0)], query.dtype());
    let mut inputs: Vec<Streamed<B>> = vec![primitive(query)];
    let mut described = Vec::with_capacity(pasts.len());
    for past in pasts {
        let (values, first_of_keys): (&[_], _) = match past.values {
            Values::Pages(pages) => (pages, None),
            Values::FirstOfKeys(dim) => (&[], Some(dim)),
            Values::Expanded(_) => unreachable!("kernels are not for it"),
        };
        let pages = past.keys.iter().chain(values);
        let held = |page: &Page<_>| page.held_numbers().expect("it fits").clone();
        inputs.extend(pages.map(held).map(primitive));
        described.push(Described {
            pages: past.keys.len(),
            first_of_keys,
            len: past.len,
            new: past.new,
        });
    }
    wrap(append::<B, 3>(
        "paged_attention",
        inputs,
        output,
        move |inputs| {
            let query = inputs.floats();
            let held: Vec<_> = described.iter().map(|past| pages(inputs, past)).collect();
            let pasts: Vec<_> = described
                .iter()
                .zip(&held)
                .map(|(past, [keys, values])| Past {
                    keys,
                    values: match past.first_of_keys {
                        Some(dim) => Values::FirstOfKeys(dim),
                        None => Values::Pages(values),
                    },
                    len: past.len,
                    new: past.new,
                })
                .collect();
            floats(B::paged_attention(query, &pasts, options))
        },
    ))
}

/// Pages of keys, and pages of values if these are stored separately.
fn pages<B: FusionBackend>(inputs: &mut Inputs<'_, B>, past: &Described) -> [Vec<Page<B>>; 2] {
    let keys = (0..past.pages).map(|_| inputs.floats().into()).collect();
    let values = match past.first_of_keys {
        Some(_) => 0,
        None => past.pages,
    };
    [keys, (0..values).map(|_| inputs.floats().into()).collect()]
}
