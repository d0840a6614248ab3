//! Reads a text through a model and records every router's choices.

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

/// Which tokens to read and what to record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Number of tokens to read; reading ends with the batch that reaches it.
    pub tokens: u64,
    /// Number of tokens, drawn at random, whose router inputs are recorded.
    pub sample: usize,
    /// Whether routers are told the domain of a tagged document.
    pub told_domains: bool,
    /// Whether the gates of every token are recorded.
    pub gates: bool,
    /// Seed of the random draws.
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

/// Routes that cannot be recorded or compared.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The text cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model has no routers.
    #[error("the model is dense: no layer has experts, so there are no routes to study")]
    Dense,
    /// A router has more slots than can be recorded.
    #[error("layer {layer} has {slots} experts, expected at most {}", u16::MAX)]
    Slots {
        /// Layer, from 1.
        layer: usize,
        /// Its number of slots.
        slots: usize,
    },
    /// The logits are not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The choices of the two models cannot be compared.
    #[error(
        "the choices of the two models cannot be compared: {found} in one of them, {expected} in the other"
    )]
    Unlike {
        /// Property of the other model.
        found: String,
        /// Property of the first model.
        expected: String,
    },
}

/// The record of one reading of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Ids of the tokens that were read, in order.
    pub ids: Vec<u32>,
    /// Domain of each token's document, if it is tagged.
    pub domains: Vec<Option<Domain>>,
    /// Documents, or the parts of those that are longer than a row.
    pub documents: Vec<ReadDocument>,
    /// Indices of the tokens whose router inputs were recorded.
    pub sample: Vec<u64>,
    /// Records of the layers with routers.
    pub layers: Vec<LayerObservation>,
}

/// A document, or a part of a longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadDocument {
    /// Number of the document in the corpus.
    pub number: usize,
    /// Range of its tokens in [`Observation::ids`].
    pub tokens: Range<usize>,
    /// Whether expert labels are found on this document; otherwise they are verified on it.
    pub is_probe: bool,
}

/// Record of one layer's router.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerObservation {
    /// Index of the layer in the model, from 0.
    pub layer: usize,
    /// Number of routed experts.
    pub experts: usize,
    /// Number of routed experts and null experts together.
    pub slots: usize,
    /// Number of slots that a token chooses.
    pub k: usize,
    /// Chosen slots, `[tokens, k]`.
    pub choices: Vec<u16>,
    /// Gates of the chosen slots, `[tokens, k]`, if they were recorded.
    pub gates: Vec<f32>,
    /// Affinities summed over tokens, each token's normalized to a sum of one, `[slots]`.
    pub affinities: Vec<f64>,
    /// Sum over tokens of the entropy of their affinities, in nats.
    pub entropy: f64,
    /// Router inputs of the sampled tokens, `[sample, width]`.
    pub inputs: Vec<f32>,
    /// Width of the router's input.
    pub width: usize,
    /// Fraction of a sampled token's choices that stay the same under noise.
    pub stability: Option<f64>,
}

/// Record of one layer on one batch, on the host.
struct LayerBatch {
    layer: usize,
    experts: usize,
    slots: usize,
    k: usize,
    width: usize,
    choices: Vec<i64>,
    gates: Vec<f32>,
    affinities: Vec<f32>,
    /// Router inputs of the requested rows.
    inputs: Vec<f32>,
}

/// Reads batches through the model and records the routers' choices. Padding is not recorded.
///
/// # Errors
///
/// [`StudyError`] if the text cannot be read, or the model has no routers, too many slots, or logits that are not
/// finite.
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

/// Runs the model on a batch and copies the layers' choices to the host.
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

/// Splits documents into two halves, domain by domain, so that both have equally many of each.
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
    /// Number of recorded tokens.
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
