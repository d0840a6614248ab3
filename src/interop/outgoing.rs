//! The weights of a model here as tensors of another format.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use burn::tensor::TensorData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::entry::{self, Entry, Rows, Take};
use super::hugging_face::HfConfig;
use super::{InteropError, RawTensor, TensorInfo, TensorSource, dtype, names};
use crate::model::weights::{WeightError, WeightSource};

/// What the tensors of another format are to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutgoingOptions {
    /// Element type of all but the routers' biases; absent: that of the weights.
    pub dtype: Option<Dtype>,
    /// Added to the bias of every router, one number per expert: a domain's prior.
    pub prior: Option<Vec<f32>>,
    /// Copies in multi-token prediction modules that are not written, see [`Origin`](super::Origin).
    pub absent_copies: BTreeSet<String>,
}

/// Tensors under Hugging Face's names, read from weights under ours.
pub struct Outgoing<'a> {
    weights: &'a dyn WeightSource,
    options: OutgoingOptions,
    order: Vec<String>,
    /// What each of their tensors is made of: entries, and which of an entry's tensors it is.
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
    /// Presents `weights` of the model that `config` describes as the tensors of a folder.
    pub fn new(weights: &'a dyn WeightSource, config: &HfConfig, options: OutgoingOptions) -> Self {
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
        Self {
            weights,
            options,
            order,
            places,
            entries,
        }
    }

    /// The routers' biases alone, as a safetensors file.
    ///
    /// # Errors
    ///
    /// What reading meets.
    pub fn biases(&self) -> Result<Vec<u8>, InteropError> {
        let names = self.order.iter();
        let names = names.filter(|name| name.ends_with("e_score_correction_bias"));
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
        if entry.ours.ends_with("e_score_correction_bias") {
            return Some(Dtype::F32);
        }
        let own = self.weights.dtype(&entry.ours)?;
        self.options.dtype.or(dtype::to_file(own))
    }

    /// Adds the prior, and casts.
    fn finished(&self, entry: &Entry, data: TensorData) -> Result<TensorData, WeightError> {
        let is_bias = entry.ours.ends_with("e_score_correction_bias");
        let data = match &self.options.prior {
            Some(prior) if is_bias => {
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
    /// One of an entry's tensors as it lies in theirs; of chosen rows these alone.
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

/// Their tensor of all rows, before its rows are put into it.
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
