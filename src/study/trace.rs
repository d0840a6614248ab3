//! The routes of single documents, token by token.

use serde::Serialize;

use super::observe::Observation;
use crate::domain::Domain;

/// The routes of a document, or of a part of one that is longer than a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace<'a> {
    /// Its number in the text, from 0.
    pub document: usize,
    /// Its domain, if it names one.
    pub domain: Option<Domain>,
    /// Its token ids.
    pub ids: &'a [u32],
    /// Every layer that routes.
    pub layers: Vec<LayerTrace<'a>>,
}

/// The routes in one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTrace<'a> {
    /// Its place in the model, from 1.
    pub layer: usize,
    /// Routed experts; slots from here on are null experts.
    pub num_experts: usize,
    /// Slots that each token chose, the likeliest first.
    pub slots: Vec<&'a [u16]>,
    /// Their gates.
    pub gates: Vec<&'a [f32]>,
}

/// The routes of all documents of an observation that kept its gates.
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
