//! Routes of single documents, token by token.

use serde::Serialize;

use super::observe::Observation;
use crate::domain::Domain;

/// Routes of a document, or of a part of one that is longer than a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace<'a> {
    /// Number of the document in the text, from 0.
    pub document: usize,
    /// Domain of the document, if it is tagged.
    pub domain: Option<Domain>,
    /// Token ids.
    pub ids: &'a [u32],
    /// Routes in each layer with a router.
    pub layers: Vec<LayerTrace<'a>>,
}

/// Routes in one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTrace<'a> {
    /// Number of the layer in the model, from 1.
    pub layer: usize,
    /// Number of routed experts; slots from here on are null experts.
    pub num_experts: usize,
    /// Slots that each token chose, the likeliest first.
    pub slots: Vec<&'a [u16]>,
    /// Gates of these slots.
    pub gates: Vec<&'a [f32]>,
}

/// Traces of all documents of an observation whose gates were recorded.
pub fn traces(observation: &Observation) -> impl Iterator<Item = Trace<'_>> {
    observation.documents.iter().map(move |document| {
        let range = document.tokens.clone();
        let layers = observation.layers.iter().map(|layer| {
            let of_tokens = range.start * layer.k..range.end * layer.k;
            let gates = layer.gates.get(of_tokens.clone()).unwrap_or_default();
            LayerTrace {
                layer: layer.layer + 1,
                num_experts: layer.experts,
                slots: layer.choices[of_tokens].chunks_exact(layer.k).collect(),
                gates: gates.chunks_exact(layer.k).collect(),
            }
        });
        Trace {
            document: document.number,
            domain: observation.domains[range.start],
            ids: &observation.ids[range.clone()],
            layers: layers.collect(),
        }
    })
}
