//! Conversion of a model whose number of experts grew to an ordinary model: weights of free places are left out.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::{WeightError, WeightSource, slice};
use crate::model::ModelConfig;
use crate::model::routing::domain::{DomainMode, PRIOR};
use crate::model::routing::growth::Roster;

/// Suffix of the name of a router's places.
const PLACES: &str = ".router.growth.places";

/// Why a model whose number of experts grew cannot become an ordinary model.
#[derive(Debug, thiserror::Error)]
pub enum StillGrowing {
    /// Siblings still inhibit each other, which ordinary routers do not support.
    #[error(
        "experts that divided after step {since} still keep out of each other's way: train on until they are experts \
         like any other, or take a checkpoint of before that step"
    )]
    Inhibited {
        /// Step after which the last of them divided.
        since: u64,
    },
    /// Layers have different numbers of experts, but a configuration has one number.
    #[error(
        "its layers have {fewest} to {most} experts in use, and an ordinary model has one number for all layers"
    )]
    Unequal {
        /// Smallest number of experts in a layer.
        fewest: usize,
        /// Largest number of experts in a layer.
        most: usize,
    },
    /// The places could not be read.
    #[error(transparent)]
    Weights(#[from] WeightError),
}

/// Whether the experts of one index have the same founder in all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// They have, so every expert index has one domain.
    Equal,
    /// They have not, so one list of domains does not fit all layers.
    Unequal,
}

/// Tensors of the experts in use, under the names of an ordinary model.
pub struct InUse {
    source: Box<dyn WeightSource>,
    /// Experts in use and slots in use, by name of a layer's feed-forward.
    layers: BTreeMap<String, [Vec<usize>; 2]>,
    /// Columns of the domain prior of all slots in use.
    prior: Vec<usize>,
}

impl std::fmt::Debug for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InUse")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

/// Part of a tensor that belongs to slots in use.
enum Cut<'a> {
    /// Indices in the first dimension.
    First(&'a [usize]),
    /// Indices in the second of two dimensions.
    Last(&'a [usize]),
}

impl InUse {
    /// Converts a model to its experts in use. If the [`Lines`] are equal, each expert gets the domain of its
    /// founder.
    ///
    /// # Errors
    ///
    /// [`StillGrowing`].
    pub fn new(
        source: Box<dyn WeightSource>,
        model: &ModelConfig,
    ) -> Result<(Self, ModelConfig, Lines), StillGrowing> {
        let (mut layers, mut founders) = (BTreeMap::new(), Vec::new());
        let (experts, slots) = model
            .moe
            .as_ref()
            .map_or((0, 0), |moe| (moe.n_routed_experts, moe.slots()));
        for name in source.names() {
            let Some(layer) = name.strip_suffix(PLACES) else {
                continue;
            };
            let values = source.data(&name)?;
            let values: Vec<f32> = values.iter::<f32>().collect();
            let roster = Roster::from_values(&values, experts);
            let sided = roster.places().iter().filter_map(|place| place.sided);
            if let Some(since) = sided.map(|sided| sided.since).max() {
                return Err(StillGrowing::Inhibited { since });
            }
            let in_use: Vec<usize> = roster.in_use().collect();
            let all: Vec<usize> = in_use.iter().copied().chain(experts..slots).collect();
            founders.push(roster.founders().into_iter().flatten().collect::<Vec<_>>());
            layers.insert(layer.to_owned(), [in_use, all]);
        }
        let counts = || layers.values().map(|[in_use, _]| in_use.len());
        let (fewest, most) = (
            counts().min().unwrap_or(experts),
            counts().max().unwrap_or(experts),
        );
        if fewest < most {
            return Err(StillGrowing::Unequal { fewest, most });
        }
        let mut settled = model.clone();
        if let Some(moe) = &mut settled.moe {
            moe.n_routed_experts = most;
            moe.router.initial_experts = None;
        }
        founders.dedup();
        let founders = (founders.len() == 1).then(|| founders.remove(0));
        let (mut prior, mut lines) = ((0..slots).collect(), Lines::Unequal);
        if let Some(founders) = founders {
            lines = Lines::Equal;
            prior = founders.iter().copied().chain(experts..slots).collect();
            if model.domains.mode != DomainMode::Off {
                let domains = founders.iter().map(|&it| model.domains.domain_of(it));
                settled.domains.expert_domains = Some(domains.collect());
            }
        }
        let in_use = Self {
            source,
            layers,
            prior,
        };
        Ok((in_use, settled, lines))
    }

    fn cut(&self, name: &str) -> Option<Cut<'_>> {
        if name == PRIOR {
            return Some(Cut::Last(&self.prior));
        }
        let (layer, part) = name.split_once(".feed_forward.")?;
        let [experts, slots] = self.layers.get(&format!("{layer}.feed_forward"))?;
        match part {
            "router.gate.weight" => Some(Cut::Last(slots)),
            "router.e_score_correction_bias" | "router.gate.bias" | "router.unit_scale" => {
                Some(Cut::First(slots))
            }
            _ if part.starts_with("experts.") => Some(Cut::First(experts)),
            _ => None,
        }
    }
}

impl WeightSource for InUse {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        names.retain(|name| !name.contains(".router.growth."));
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shape = self.source.shape(name)?;
        match self.cut(name) {
            Some(Cut::First(slices)) => shape[0] = slices.len(),
            Some(Cut::Last(slices)) => shape[1] = slices.len(),
            None => {}
        }
        Some(shape)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(name)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let data = self.source.data(name)?;
        let mut shape = data.shape.to_vec();
        let (rows, slices) = match self.cut(name) {
            None => return Ok(data),
            Some(Cut::First(slices)) => {
                shape[0] = slices.len();
                (1, slices)
            }
            Some(Cut::Last(slices)) => {
                shape[1] = slices.len();
                (shape[0], slices)
            }
        };
        let row = data.bytes.len() / rows;
        let all = match rows {
            1 => data.shape[0],
            _ => data.shape[1],
        };
        let slice = row / all;
        let mut bytes = Vec::with_capacity(rows * slice * slices.len());
        for at in 0..rows {
            for &of in slices {
                bytes.extend_from_slice(&data.bytes[at * row + of * slice..][..slice]);
            }
        }
        Ok(TensorData::from_bytes_vec(bytes, shape, data.dtype))
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        match self.cut(name) {
            Some(Cut::First(slices)) => self.source.part(name, slices[index]),
            Some(Cut::Last(_)) => Ok(slice(&self.data(name)?, index)),
            None => self.source.part(name, index),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::model::routing::growth::{Change, Division, Inhibition};
    use crate::model::weights::{InMemory, NamedTensor, collect, load};
    use crate::model::{CausalLm, Sequences};

    type B = Selected;

    const APART: Inhibition = Inhibition { hold: 2, fade: 2 };

    fn config() -> ModelConfig {
        let json = r#"{
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 5,
            "max_position_embeddings": 16, "layer_types": ["gqa"], "initializer_range": 0.4,
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "rope": {}, "domains": {"mode": "soft"},
            "moe": {
                "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 5,
                "router": {"initial_experts": 3}
            }
        }"#;
        serde_json::from_str(json).unwrap()
    }

    /// A model in which one expert per layer, `parents`, divides after step 10.
    fn divided(parents: [usize; 2]) -> CausalLm<B> {
        let model = CausalLm::<B>::init(&config(), 1, &Default::default());
        model.map_moe(|layer, moe| {
            moe.grow(&Change {
                step: 10,
                divisions: vec![Division {
                    parent: parents[layer],
                    child: 4,
                    normal: vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                    offset: 0.0,
                }],
                inhibition: APART,
                ..Change::default()
            })
        })
    }

    fn later(model: CausalLm<B>) -> CausalLm<B> {
        let change = Change {
            step: 14,
            inhibition: APART,
            ..Change::default()
        };
        model.map_moe(|_, moe| moe.grow(&change))
    }

    fn source(model: &CausalLm<B>) -> Box<dyn WeightSource> {
        let tensors = collect(model).into_iter().map(|tensor: NamedTensor<'_>| {
            let name = tensor.name.clone();
            (name, tensor.read().unwrap())
        });
        Box::new(InMemory::new("the test", tensors))
    }

    fn logits(model: &CausalLm<B>) -> Vec<f32> {
        let ids = TensorData::new(vec![1i64, 9, 4, 4, 0, 7, 10, 2], [1, 8]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &Default::default());
        let logits = model.forward(&Sequences::plain(ids)).into_data();
        logits.iter::<f32>().collect()
    }

    #[test]
    fn experts_in_use_are_an_ordinary_model_that_computes_the_same() {
        let model = later(divided([2, 2]));
        let (weights, ordinary, lines) = InUse::new(source(&model), &config()).unwrap();
        assert_eq!(ordinary.moe.as_ref().unwrap().n_routed_experts, 4);
        assert_eq!(lines, Lines::Equal);
        let domain = |expert| ordinary.domains.domain_of(expert);
        assert_eq!(
            domain(3),
            domain(2),
            "the child has the domain of its parent"
        );
        let alone = CausalLm::<B>::init(&ordinary, 2, &Default::default());
        let alone = load(alone, &weights).unwrap();
        assert_eq!(logits(&alone), logits(&model));
        let part = weights
            .part("layers.0.feed_forward.experts.up_proj", 3)
            .unwrap();
        let whole = weights
            .data("layers.0.feed_forward.experts.up_proj")
            .unwrap();
        assert_eq!(whole.shape[0], 4);
        assert_eq!(whole.bytes[whole.bytes.len() / 4 * 3..], part.bytes[..]);
        let gate = "layers.0.feed_forward.router.gate.weight";
        let row = weights.part(gate, 1).unwrap();
        assert_eq!(row.shape[..], [4]);
        let whole = weights.data(gate).unwrap();
        assert_eq!(
            whole.bytes[row.bytes.len()..][..row.bytes.len()],
            row.bytes[..]
        );
    }

    #[test]
    fn siblings_that_keep_apart_are_no_ordinary_experts() {
        let error = InUse::new(source(&divided([2, 2])), &config()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("experts that divided after step 10 still keep"),
            "{error}"
        );
    }

    #[test]
    fn layers_of_other_lines_have_no_domains_in_common() {
        let model = later(divided([1, 2]));
        let (_, _, lines) = InUse::new(source(&model), &config()).unwrap();
        assert_eq!(lines, Lines::Unequal);
    }
}
