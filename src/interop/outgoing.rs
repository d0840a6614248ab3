//! The weights of a model here as tensors of another format.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use burn::tensor::TensorData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::hugging_face::{HfConfig, RopeLayout, RopeRows, mixtral_name};
use super::names::{self, Entry, Form};
use super::{InteropError, RawTensor, TensorInfo, TensorSource, dtype, layout};
use crate::model::ModelConfig;
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
    config: HfConfig,
    options: OutgoingOptions,
    order: Vec<String>,
    /// Where each of their tensors comes from: an entry, and which of its tensors.
    places: HashMap<String, (usize, usize)>,
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
    /// Presents `weights` of `model` as the tensors of a folder with `config`.
    pub fn new(
        weights: &'a dyn WeightSource,
        model: &ModelConfig,
        config: HfConfig,
        options: OutgoingOptions,
    ) -> Self {
        let spelled = |name: &str| match config {
            HfConfig::Mixtral(_) => mixtral_name(name),
            _ => name.to_owned(),
        };
        let is_absent = |entry: &Entry| {
            matches!(config, HfConfig::Mixtral(_))
                && entry.ours.ends_with("e_score_correction_bias")
        };
        let mut entries = names::entries(model);
        entries.retain(|entry| !is_absent(entry));
        let (mut order, mut places) = (Vec::new(), HashMap::new());
        for (index, entry) in entries.iter().enumerate() {
            for (part, name) in entry.theirs.iter().enumerate() {
                order.push(spelled(name));
                places.insert(spelled(name), (index, part));
            }
        }
        for (copy, of) in names::mtp_copies(model) {
            let is_absent = options.absent_copies.contains(&copy);
            if let Some(&place) = places.get(of).filter(|_| !is_absent) {
                order.push(copy.clone());
                places.insert(copy, place);
            }
        }
        Self {
            weights,
            config,
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

impl TensorSource for Outgoing<'_> {
    fn names(&self) -> Vec<String> {
        self.order.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let &(index, _) = self.places.get(name)?;
        let entry = &self.entries[index];
        let mut shape = self.weights.shape(&entry.ours)?;
        match entry.form {
            Form::Same => {}
            Form::Transposed => shape.reverse(),
            Form::Experts => {
                shape.remove(0);
                shape.reverse();
            }
        }
        let dtype = self.dtype_of(entry)?;
        Some(TensorInfo { dtype, shape })
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let Some(&(index, part)) = self.places.get(name) else {
            return Err(InteropError::MissingTensor {
                path: self.weights.path().to_path_buf(),
                name: name.into(),
            });
        };
        let entry = &self.entries[index];
        let data = match entry.form {
            Form::Experts => self.weights.part(&entry.ours, part)?,
            Form::Same | Form::Transposed => self.weights.data(&entry.ours)?,
        };
        let data = self.finished(entry, data)?;
        let Some(dtype) = dtype::to_file(data.dtype) else {
            return Err(InteropError::TensorDtype {
                path: self.weights.path().to_path_buf(),
                name: name.into(),
                found: format!("{:?}", data.dtype),
                expected: "a float type".into(),
            });
        };
        let tensor = RawTensor {
            dtype,
            shape: data.shape.to_vec(),
            bytes: Cow::Owned(data.bytes.to_vec()),
        };
        let tensor = match entry.form {
            Form::Same => tensor,
            Form::Transposed | Form::Experts => layout::transposed(tensor),
        };
        match RopeRows::of(&self.config, name) {
            Some(rows) => {
                let layouts = [RopeLayout::Interleaved, self.config.rope_layout()];
                rows.reorder(tensor, layouts, self.weights.path(), name)
            }
            None => Ok(tensor),
        }
    }
}
