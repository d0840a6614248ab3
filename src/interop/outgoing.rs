//! The weights of one of our models as tensors of another format.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use burn::tensor::TensorData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::entry::{self, Entry, Rows, Take};
use super::hugging_face::HfConfig;
use super::{InteropError, RawTensor, TensorInfo, TensorSource, dtype, names};
use crate::model::routing::domain::PRIOR;
use crate::model::weights::{WeightError, WeightSource};

/// Last part of the name of a router's balancing bias, here and in other formats.
const BIAS: &str = "e_score_correction_bias";

/// Advice for a balanced router whose foreign counterpart has no bias.
const WITHOUT_BIAS: &str = "their routers choose by scores alone; train the model with `moe.router.balance` \
    `{\"auxiliary\": {}}`, which leaves the bias at zero, or with `moe.router.scoring_func` `sigmoid`, as DeepSeek-V3 and \
    GLM-4-MoE have it";

/// Advice for a domain's prior, which has no tensor in the format.
const WITHOUT_DOMAIN: &str = "leave `--domain` out";

/// Advice for a parameter that no version of the format holds.
const AS_RUN: &str = "keep the model as a run";

/// Settings of an export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutgoingOptions {
    /// Element type of everything but the routers' biases; absent: that of the weights.
    pub dtype: Option<Dtype>,
    /// A domain's prior, one number per expert, to be added to every router's bias.
    pub prior: Option<Vec<f32>>,
    /// Copies in multi-token prediction modules to leave out, see [`Origin`](super::Origin).
    pub absent_copies: BTreeSet<String>,
}

/// Tensors under Hugging Face's names, read from weights under ours.
pub struct Outgoing<'a> {
    weights: &'a dyn WeightSource,
    options: OutgoingOptions,
    order: Vec<String>,
    /// Sources of each tensor: the index of an entry, and of the tensor within it.
    places: HashMap<String, Vec<(usize, usize)>>,
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("options", &self.options)
            .field("tensors", &self.order.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Outgoing<'a> {
    /// Presents the `weights` of the model in `config` as tensors of a model folder.
    ///
    /// # Errors
    ///
    /// [`InteropError::NoPlace`] if a parameter that is not zero has no tensor in the family's files.
    pub fn new(
        weights: &'a dyn WeightSource,
        config: &HfConfig,
        options: OutgoingOptions,
    ) -> Result<Self, InteropError> {
        let mut entries = config.family.entries(config);
        entries.retain(|entry| entry.zeros.is_none());
        let mut order = Vec::new();
        let mut places = HashMap::<String, Vec<(usize, usize)>>::new();
        for (index, entry) in entries.iter().enumerate() {
            for (part, name) in entry.theirs.iter().enumerate() {
                let name = config.family.spelling(name);
                let parts = places.entry(name.clone()).or_default();
                if parts.is_empty() {
                    order.push(name);
                }
                parts.push((index, part));
            }
        }
        for (copy, of) in names::mtp_copies(&config.model) {
            let is_absent = options.absent_copies.contains(&copy);
            if let Some(place) = places.get(of).filter(|_| !is_absent) {
                order.push(copy.clone());
                places.insert(copy, place.clone());
            }
        }
        let this = Self {
            weights,
            options,
            order,
            places,
            entries,
        };
        this.refuse_a_loss(config.family.profile().name)?;
        Ok(this)
    }

    /// Refuses a nonzero parameter without a tensor in the family's files, since the exported model would compute other
    /// logits. The domain prior is exempt: with a domain it is added to the bias, without one it has no effect.
    fn refuse_a_loss(&self, family: &'static str) -> Result<(), InteropError> {
        let written: HashSet<&str> = self.entries.iter().map(|it| it.ours.as_str()).collect();
        let lost = |name: &String| !written.contains(name.as_str()) && name != PRIOR;
        for name in self.weights.names().into_iter().filter(lost) {
            let data = self.weights.data(&name)?;
            let prior = self.options.prior.iter().flatten().copied();
            let prior = largest(prior.filter(|_| is_bias(&name)));
            let (largest, instead) = match (largest(data.iter::<f32>()), prior) {
                (None, None) => continue,
                (Some(largest), _) if is_bias(&name) => (largest, WITHOUT_BIAS),
                (Some(largest), _) => (largest, AS_RUN),
                (None, Some(largest)) => (largest, WITHOUT_DOMAIN),
            };
            return Err(InteropError::NoPlace {
                path: self.weights.path().to_path_buf(),
                name,
                largest,
                family,
                instead,
            });
        }
        Ok(())
    }

    /// Whether the family's files hold the routers' biases.
    pub fn has_biases(&self) -> bool {
        self.order.iter().any(|name| is_bias(name))
    }

    /// The routers' biases as a safetensors file.
    ///
    /// # Errors
    ///
    /// Errors of reading the weights.
    pub fn biases(&self) -> Result<Vec<u8>, InteropError> {
        let names = self.order.iter().filter(|name| is_bias(name));
        let tensors: Vec<(&String, RawTensor<'_>)> = names
            .map(|name| Ok((name, self.tensor(name)?)))
            .collect::<Result<_, InteropError>>()?;
        let views = tensors.iter().map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
            view.map(|view| (*name, view))
        });
        let format = |error: SafeTensorError| InteropError::Malformed {
            path: self.weights.path().to_path_buf(),
            found: error.to_string(),
            expected: "biases that a safetensors file can hold".into(),
        };
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(format)?;
        safetensors::serialize(views, None).map_err(format)
    }

    fn dtype_of(&self, entry: &Entry) -> Option<Dtype> {
        if is_bias(&entry.ours) {
            return Some(Dtype::F32);
        }
        let own = self.weights.dtype(&entry.ours)?;
        self.options.dtype.or(dtype::to_file(own))
    }

    /// Adds the prior to a bias, and casts to the output type.
    fn finished(&self, entry: &Entry, data: TensorData) -> Result<TensorData, WeightError> {
        let data = match &self.options.prior {
            Some(prior) if is_bias(&entry.ours) => {
                let values = data.iter::<f32>().zip(prior);
                let values: Vec<f32> = values.map(|(bias, prior)| bias + prior).collect();
                TensorData::new(values, data.shape)
            }
            _ => data,
        };
        let wanted = self.dtype_of(entry).and_then(dtype::to_burn);
        Ok(match wanted {
            Some(dtype) if dtype != data.dtype => data.convert_dtype(dtype),
            _ => data,
        })
    }
}

impl Outgoing<'_> {
    /// One of an entry's tensors in their layout; for a selection of rows, only these rows.
    fn part(&self, entry: &Entry, part: usize) -> Result<RawTensor<'_>, InteropError> {
        let data = match entry.take {
            Take::Stack => self.weights.part(&entry.ours, part)?,
            Take::Whole | Take::Rows(_) => self.weights.data(&entry.ours)?,
        };
        let data = self.finished(entry, data)?;
        let Some(dtype) = dtype::to_file(data.dtype) else {
            return Err(InteropError::TensorDtype {
                path: self.weights.path().to_path_buf(),
                name: entry.theirs[part].clone(),
                found: format!("{:?}", data.dtype),
                expected: "a float type".into(),
            });
        };
        Ok(entry.to_theirs(RawTensor {
            dtype,
            shape: data.shape.to_vec(),
            bytes: Cow::Owned(data.bytes.to_vec()),
        }))
    }

    fn missing(&self, name: &str) -> InteropError {
        InteropError::MissingTensor {
            path: self.weights.path().to_path_buf(),
            name: name.into(),
        }
    }
}

impl TensorSource for Outgoing<'_> {
    fn names(&self) -> Vec<String> {
        self.order.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let &(index, _) = self.places.get(name)?.first()?;
        let entry = &self.entries[index];
        let shape = entry.their_shape(&self.weights.shape(&entry.ours)?);
        let dtype = self.dtype_of(entry)?;
        Some(TensorInfo { dtype, shape })
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let mut whole: Option<RawTensor<'_>> = None;
        for &(index, part) in self.places.get(name).into_iter().flatten() {
            let entry = &self.entries[index];
            let tensor = self.part(entry, part)?;
            let Take::Rows(rows) = &entry.take else {
                return Ok(tensor);
            };
            let all = whole.get_or_insert_with(|| of_zeros(&tensor, rows));
            entry::put(rows, &tensor.bytes, all.bytes.to_mut());
        }
        whole.ok_or_else(|| self.missing(name))
    }
}

fn is_bias(name: &str) -> bool {
    name.ends_with(BIAS)
}

/// Largest absolute value; `None` if all are zero.
fn largest(values: impl Iterator<Item = f32>) -> Option<f32> {
    let values = values.map(f32::abs).filter(|value| *value != 0.0);
    values.max_by(f32::total_cmp)
}

/// Their tensor with all rows zero, before rows are put into it.
fn of_zeros(part: &RawTensor<'_>, rows: &Rows) -> RawTensor<'static> {
    let mut shape = part.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = rows.theirs();
    }
    let size = shape.iter().product::<usize>() * part.dtype.bitsize() / 8;
    RawTensor {
        dtype: part.dtype,
        shape,
        bytes: Cow::Owned(vec![0; size]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::TensorData;

    use super::*;
    use crate::interop::ForeignModel;
    use crate::model::weights::{InMemory, Replaced};

    fn open(fixture: &str) -> ForeignModel {
        ForeignModel::open(&Path::new("tests/fixtures").join(fixture)).unwrap()
    }

    /// Number of tensors that are written, or the error's message.
    fn written(
        weights: &dyn WeightSource,
        config: &HfConfig,
        prior: Option<Vec<f32>>,
    ) -> Result<usize, String> {
        let options = OutgoingOptions {
            prior,
            ..Default::default()
        };
        let outgoing = Outgoing::new(weights, config, options);
        let outgoing = outgoing.map(|it| it.names().len());
        outgoing.map_err(|error| error.to_string())
    }

    /// Name and length of the last router's bias.
    fn last_bias(model: &ForeignModel) -> (String, usize) {
        let names = model.weights.names();
        let bias = names.into_iter().rfind(|name| is_bias(name)).unwrap();
        let length = model.weights.shape(&bias).unwrap()[0];
        (bias, length)
    }

    #[test]
    fn a_balanced_router_is_written_where_it_has_a_place_and_refused_where_it_has_none() {
        for (fixture, has_place) in [
            ("mixtral", false),
            ("olmoe", false),
            ("qwen3_moe", false),
            ("deepseek_v2", false),
            ("deepseek_v2_groups", false),
            ("qwen3_next", false),
            ("deepseek_v3_plain", true),
            ("glm4_moe", true),
        ] {
            let model = open(fixture);
            let config = &model.config;
            let all = written(model.weights.as_ref(), config, None).unwrap();
            let (bias, length) = last_bias(&model);
            let with = |value: f32| {
                let mut values = vec![0.0; length];
                values[length - 1] = value;
                let bias_of = TensorData::new(values, [length]);
                Replaced::new(model.weights.as_ref(), &bias, Some(bias_of))
            };
            assert_eq!(written(&with(0.0), config, None), Ok(all), "{fixture}");
            let family = config.family.profile().name;
            for (value, told) in [(-0.25, "0.25"), (f32::NAN, "NaN")] {
                let balanced = written(&with(value), config, None);
                if has_place {
                    assert_eq!(balanced, Ok(all), "{fixture}");
                    continue;
                }
                let refused = balanced.unwrap_err();
                let lost = format!(
                    "`{bias}` has values up to {told}, and files of {family} have no place for it: their \
                     routers choose by scores alone; train"
                );
                assert!(refused.contains(&lost), "{refused}");
            }
        }
    }

    #[test]
    fn a_domain_is_refused_where_its_prior_has_no_place() {
        let model = open("mixtral");
        let (_, length) = last_bias(&model);
        let prior = |value| {
            written(
                model.weights.as_ref(),
                &model.config,
                Some(vec![value; length]),
            )
        };
        assert!(prior(0.0).is_ok());
        let refused = prior(2.0).unwrap_err();
        let first = model.weights.names().into_iter().find(|name| is_bias(name));
        let first = first.unwrap();
        assert!(
            refused.ends_with(&format!(
                "`{first}` has values up to 2, and files of Mixtral have no place for it: leave `--domain` out"
            )),
            "{refused}"
        );
    }

    #[test]
    fn a_parameter_without_a_place_is_refused_whatever_it_is() {
        let model = open("llama_tied");
        let with = |name: &str, value: f32| {
            let names = model.weights.names().into_iter();
            let tensors = names.map(|name| {
                let data = model.weights.data(&name).unwrap();
                (name, data)
            });
            let more = (name.to_owned(), TensorData::new(vec![0.0, value], [2]));
            let all = InMemory::new("run", tensors.chain([more]));
            written(&all, &model.config, None)
        };
        let all = written(model.weights.as_ref(), &model.config, None);
        assert_eq!(with("layers.0.codons.weight", 0.0), all);
        assert_eq!(
            with("layers.0.codons.weight", -3.0).unwrap_err(),
            "run: `layers.0.codons.weight` has values up to 3, and files of Llama have no place for it: keep the model as a run"
        );
        // follows from the configuration, and has no effect without a domain
        assert_eq!(with(PRIOR, 1.0), all);
    }
}
