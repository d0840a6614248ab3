//! Parts of sequences in a pass.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;

use super::sampling::Sampler;
use super::sequence::Sequence;
use crate::domain::{Domain, UNTAGGED};
use crate::model::Sequences;
use crate::model::mixer::TokenMixer;

/// Part of one sequence in a pass.
pub(super) struct Turn<'a, B: Ops, M: TokenMixer<B>> {
    pub(super) sequence: &'a mut Sequence<B, M>,
    /// Number of unread ids to read.
    pub(super) read: usize,
    /// Chooses the next tokens; absent: none are chosen.
    pub(super) sampler: Option<&'a Sampler>,
    /// Maximum length of the sequence.
    pub(super) context: usize,
}

/// Concatenates ids of several sequences, each given with its first position and its domain.
pub(super) fn joined<B: Ops>(
    spans: impl Iterator<Item = (impl Iterator<Item = u32>, usize, Option<Domain>)>,
    device: &B::Device,
) -> Sequences<B> {
    let (mut ids, mut positions, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for (span, first, domain) in spans {
        let begin = ids.len();
        ids.extend(span.map(|id| id as i32));
        let count = ids.len() - begin;
        positions.extend((first..first + count).map(|position| position as i32));
        tags.resize(ids.len(), i32::from(Domain::tag(domain)));
    }
    let row = |values: Vec<i32>| -> Tensor<B, 2, Int> {
        let shape = [1, values.len()];
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    let tagged = tags.iter().any(|&tag| tag != i32::from(UNTAGGED));
    Sequences {
        ids: row(ids),
        positions: row(positions),
        mask: AttentionMask::Causal,
        tags: tagged.then(|| row(tags).squeeze_dim(0)),
        step: None,
    }
}
