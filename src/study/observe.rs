//! One reading of a text, with a record of every router's choices.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::{Ops, awake};

use super::information::entropy;
use super::sample::Reservoir;
use crate::data::{DataError, PADDING, PackedBatch};
use crate::domain::Domain;
use crate::model::mixer::TokenMixer;
use crate::model::routing::{Route, Routing};
use crate::model::{CausalLm, NotFinite, Routed};
use crate::training::batch;

/// What is to be read and kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Reading ends with the batch in which so many tokens were read.
    pub tokens: u64,
    /// Tokens, drawn from all, whose router inputs are kept.
    pub sample: usize,
    /// Whether routers are told the domain of a document that names one.
    pub told_domains: bool,
    /// Whether the gates of every token are kept.
    pub gates: bool,
    /// Origin of the draws.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            tokens: 1 << 16,
            sample: 4096,
            told_domains: false,
            gates: false,
            seed: 0,
        }
    }
}

/// Routes that cannot be studied.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model without routers.
    #[error("the model is dense: no layer has experts, so there are no routes to study")]
    Dense,
    /// A router with more slots than are recorded.
    #[error("layer {layer} has {slots} experts, expected at most {}", u16::MAX)]
    Slots {
        /// The layer, from 1.
        layer: usize,
        /// Its slots.
        slots: usize,
    },
    /// A model that does not compute.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// Two models whose choices cannot be compared.
    #[error(
        "the choices of the two models cannot be compared: {found} in one of them, {expected} in the other"
    )]
    Unlike {
        /// What the other has.
        found: String,
        /// What the first has.
        expected: String,
    },
}

/// What was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The tokens that were read, in order.
    pub ids: Vec<u32>,
    /// Domain of the document of each token, where it names one.
    pub domains: Vec<Option<Domain>>,
    /// Documents, and parts of those that are longer than a row.
    pub documents: Vec<ReadDocument>,
    /// The tokens whose router inputs were kept.
    pub sample: Vec<u64>,
    /// Every layer that routes.
    pub layers: Vec<LayerObservation>,
}

/// A document, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadDocument {
    /// Its number in the corpus.
    pub number: usize,
    /// Its tokens.
    pub tokens: Range<usize>,
    /// Whether names of experts are found on it; else they are held against it.
    pub is_probe: bool,
}

/// What the router of a layer did.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerObservation {
    /// The layer's place in the model, from 0.
    pub layer: usize,
    /// Routed experts.
    pub experts: usize,
    /// Routed experts and null experts.
    pub slots: usize,
    /// Slots that a token chooses.
    pub k: usize,
    /// `[tokens, k]`
    pub choices: Vec<u16>,
    /// `[tokens, k]`, if they were asked for.
    pub gates: Vec<f32>,
    /// Sum of the tokens' affinities, each token's with a sum of one, `[slots]`.
    pub affinities: Vec<f64>,
    /// Sum of their entropies, in nats.
    pub entropy: f64,
    /// What the router read of the sampled tokens, `[sample, width]`.
    pub inputs: Vec<f32>,
    /// Width of that.
    pub width: usize,
    /// Share of a sampled token's choice that stays under noise.
    pub stability: Option<f64>,
}

/// One layer's part of a batch, on the host.
struct LayerBatch {
    layer: usize,
    experts: usize,
    slots: usize,
    k: usize,
    width: usize,
    choices: Vec<i64>,
    gates: Vec<f32>,
    affinities: Vec<f32>,
    /// Of the rows that were asked for.
    inputs: Vec<f32>,
}

/// Reads batches, and records where their tokens go. Padding is not recorded.
///
/// # Errors
///
/// [`StudyError`]
pub fn observe<B, M, R>(
    model: &CausalLm<B, M, R>,
    batches: impl IntoIterator<Item = Result<PackedBatch, DataError>>,
    plan: &Plan,
) -> Result<Observation, StudyError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    if model.routers().next().is_none() {
        return Err(StudyError::Dense);
    }
    let mut found = Observation {
        ids: Vec::new(),
        domains: Vec::new(),
        documents: Vec::new(),
        sample: Vec::new(),
        layers: Vec::new(),
    };
    let mut reservoir = Reservoir::new(plan.sample, plan.seed);
    let mut halves = Halves::default();
    for batch in batches {
        let batch = batch?;
        let rows: Vec<usize> = (0..batch.ids.len())
            .filter(|&row| batch.segments[row] != PADDING)
            .collect();
        let held = reservoir.offer(rows.len());
        let held: BTreeMap<usize, usize> = held
            .into_iter()
            .map(|(place, token)| (place, rows[token]))
            .collect();
        let layers = {
            let (model, batch, held) = (model.clone(), &batch, &held);
            awake(move || read(&model, batch, plan, held))
        };
        found.add_documents(&batch, &rows, &mut halves);
        for (at, layer) in layers.into_iter().enumerate() {
            found.add_layer(at, layer, &rows, &held, plan)?;
        }
        if found.is_not_finite() {
            let input = batch::sequences(&batch, &model.embed_tokens.device());
            if let Some(error) = model.not_finite(&input) {
                return Err(error.into());
            }
        }
        if found.ids.len() as u64 >= plan.tokens {
            break;
        }
    }
    found.sample = reservoir.into_tokens();
    found.measure_stability(model, plan);
    Ok(found)
}

/// Runs the model on a batch.
fn read<B, M, R>(
    model: &CausalLm<B, M, R>,
    batch: &PackedBatch,
    plan: &Plan,
    held: &BTreeMap<usize, usize>,
) -> Vec<LayerBatch>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let device = model.embed_tokens.device();
    let mut input = batch::sequences(batch, &device);
    if !plan.told_domains {
        input.tags = None;
    }
    let held: Vec<i32> = held.values().map(|&row| row as i32).collect();
    let mut layers = Vec::new();
    model.watch_routers(&input, |routed: Routed<'_, B, R>| {
        let [_, width] = routed.hidden.dims();
        let inputs = match held.len() {
            0 => Vec::new(),
            count => {
                let rows = TensorData::new(held.clone(), [count]);
                let rows = Tensor::<B, 1, Int>::from_data(rows, &device);
                floats(routed.hidden.select(0, rows))
            }
        };
        let Routing {
            weights,
            indices,
            affinities,
            experts,
            ..
        } = routed.routing;
        let ([_, k], [_, slots]) = (indices.dims(), affinities.dims());
        layers.push(LayerBatch {
            layer: routed.layer,
            experts,
            slots,
            k,
            width,
            choices: indices.into_data().iter::<i64>().collect(),
            gates: if plan.gates {
                floats(weights)
            } else {
                Vec::new()
            },
            affinities: floats(affinities),
            inputs,
        });
    });
    layers
}

fn floats<B: Ops>(tensor: Tensor<B, 2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Deals documents out to two halves, domain by domain, so that both have as many of each.
#[derive(Debug, Default)]
struct Halves {
    by_domain: BTreeMap<Option<Domain>, u64>,
    dealt: BTreeMap<usize, bool>,
}

impl Halves {
    fn is_probe(&mut self, number: usize, domain: Option<Domain>) -> bool {
        // parts of a document stay together
        *self.dealt.entry(number).or_insert_with(|| {
            let count = self.by_domain.entry(domain).or_default();
            let is_probe = count.is_multiple_of(2);
            *count += 1;
            is_probe
        })
    }
}

impl Observation {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    fn add_documents(&mut self, batch: &PackedBatch, rows: &[usize], halves: &mut Halves) {
        let mut open = None;
        for &row in rows {
            let segment = (row / batch.seq_len, batch.segments[row]);
            let domain = Domain::from_index(batch.tags[row].into());
            let at = self.ids.len();
            self.ids.push(batch.ids[row] as u32);
            self.domains.push(domain);
            match self.documents.last_mut() {
                Some(document) if open == Some(segment) => document.tokens.end = at + 1,
                _ => {
                    let number = batch.documents[segment.0][segment.1 as usize];
                    self.documents.push(ReadDocument {
                        number,
                        tokens: at..at + 1,
                        is_probe: halves.is_probe(number, domain),
                    });
                    open = Some(segment);
                }
            }
        }
    }

    fn add_layer(
        &mut self,
        at: usize,
        layer: LayerBatch,
        rows: &[usize],
        held: &BTreeMap<usize, usize>,
        plan: &Plan,
    ) -> Result<(), StudyError> {
        if layer.slots > usize::from(u16::MAX) {
            return Err(StudyError::Slots {
                layer: layer.layer + 1,
                slots: layer.slots,
            });
        }
        if self.layers.len() == at {
            self.layers.push(LayerObservation {
                layer: layer.layer,
                experts: layer.experts,
                slots: layer.slots,
                k: layer.k,
                choices: Vec::new(),
                gates: Vec::new(),
                affinities: vec![0.0; layer.slots],
                entropy: 0.0,
                inputs: Vec::new(),
                width: layer.width,
                stability: None,
            });
        }
        let found = &mut self.layers[at];
        let (k, slots, width) = (layer.k, layer.slots, layer.width);
        for &row in rows {
            let chosen = layer.choices[row * k..][..k].iter();
            found.choices.extend(chosen.map(|&slot| slot as u16));
            if plan.gates {
                found.gates.extend(&layer.gates[row * k..][..k]);
            }
            let affinities = layer.affinities[row * slots..][..slots].iter();
            let affinities = affinities.map(|&affinity| f64::from(affinity));
            found.entropy += entropy(affinities.clone());
            let total: f64 = affinities.clone().sum();
            if total != 0.0 {
                for (sum, affinity) in found.affinities.iter_mut().zip(affinities) {
                    *sum += affinity / total;
                }
            }
        }
        for (&place, input) in held.keys().zip(layer.inputs.chunks_exact(width)) {
            let end = (place + 1) * width;
            found.inputs.resize(found.inputs.len().max(end), 0.0);
            found.inputs[place * width..end].copy_from_slice(input);
        }
        Ok(())
    }

    fn is_not_finite(&self) -> bool {
        let sums = self.layers.iter().flat_map(|layer| &layer.affinities);
        sums.into_iter().any(|sum| !sum.is_finite())
    }
}

#[cfg(test)]
mod tests;
