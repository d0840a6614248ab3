//! Named tensors of a module.
//!
//! A name is the path of fields and indices, joined by dots: `layers.0.mixer.q_a_proj.weight`. It omits enum
//! variants, so other tools can read the names.

use std::collections::HashMap;
use std::fmt;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::{BasicOps, DType, TensorKind};

use super::{WeightError, WeightSource};

/// A tensor with its name. Its values are read from the device on demand.
pub struct NamedTensor<'a> {
    /// Path in the module.
    pub name: String,
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    read: Box<dyn FnOnce() -> Result<TensorData, WeightError> + 'a>,
}

impl NamedTensor<'_> {
    /// Names a tensor. Cheap: shares the tensor's memory.
    pub fn new<B: Backend, const D: usize, K>(
        name: impl Into<String>,
        tensor: Tensor<B, D, K>,
    ) -> Self
    where
        K: TensorKind<B> + BasicOps<B> + 'static,
    {
        Self {
            name: name.into(),
            shape: tensor.dims().to_vec(),
            dtype: tensor.dtype(),
            read: Box::new(|| Ok(tensor.into_data())),
        }
    }
}

impl<'a> NamedTensor<'a> {
    /// Tensor `name` of `source`, read on demand.
    ///
    /// # Errors
    ///
    /// [`WeightError::Missing`] if there is none.
    pub fn of(source: &'a dyn WeightSource, name: &str) -> Result<Self, WeightError> {
        let (Some(shape), Some(dtype)) = (source.shape(name), source.dtype(name)) else {
            return Err(WeightError::Missing {
                path: source.path().to_path_buf(),
                names: vec![name.into()],
            });
        };
        let owned = name.to_owned();
        Ok(Self {
            name: name.into(),
            shape,
            dtype,
            read: Box::new(move || source.data(&owned)),
        })
    }

    /// Reads the values.
    ///
    /// # Errors
    ///
    /// Errors of the tensor's source; none for tensors on a device.
    pub fn read(self) -> Result<TensorData, WeightError> {
        (self.read)()
    }
}

impl From<(String, TensorData)> for NamedTensor<'_> {
    fn from((name, data): (String, TensorData)) -> Self {
        Self {
            name,
            shape: data.shape.to_vec(),
            dtype: data.dtype,
            read: Box::new(|| Ok(data)),
        }
    }
}

impl fmt::Debug for NamedTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} {:?}", self.name, self.dtype, self.shape)
    }
}

/// Names all parameters of `module`, in the order of its fields. Copies nothing.
pub fn collect<B: Backend, M: Module<B>>(module: &M) -> Vec<NamedTensor<'static>> {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.tensors
}

/// Name of every parameter of `module` by [`ParamId`]. Optimizer states are keyed by these ids, which change between
/// processes.
///
/// A parameter that occurs twice in the module (tied weights) has the name of its first occurrence.
pub fn param_names<B: Backend, M: Module<B>>(module: &M) -> HashMap<ParamId, String> {
    let mut namer = Namer::default();
    module.visit(&mut namer);
    namer.names
}

/// Path of a visitor or mapper within a module.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// Enters a field. `container_type` is burn's: `Struct:Mla`, `Enum:Mixer`, `Vec`, …; for an enum `name` is a
    /// variant.
    pub(crate) fn enter(&mut self, name: &str, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.0.push(name.into());
        }
    }

    pub(crate) fn exit(&mut self, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.0.pop();
        }
    }

    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Debug, Default)]
struct Collector {
    path: Path,
    tensors: Vec<NamedTensor<'static>>,
}

// `transform_for_save` gives the value that burn's own recorders write; for most parameters it is the value itself
impl<B: Backend> ModuleVisitor<B> for Collector {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.transform_for_save().val();
        self.tensors.push(NamedTensor::new(self.path.name(), value));
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<B, D, Int>>) {
        let value = param.transform_for_save().val();
        self.tensors.push(NamedTensor::new(self.path.name(), value));
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<B, D, Bool>>) {
        let value = param.transform_for_save().val();
        self.tensors.push(NamedTensor::new(self.path.name(), value));
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

#[derive(Debug, Default)]
struct Namer {
    path: Path,
    names: HashMap<ParamId, String>,
}

impl Namer {
    fn note(&mut self, id: ParamId) {
        let path = &self.path;
        self.names.entry(id).or_insert_with(|| path.name());
    }
}

impl<B: Backend> ModuleVisitor<B> for Namer {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.note(param.id);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<B, D, Int>>) {
        self.note(param.id);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<B, D, Bool>>) {
        self.note(param.id);
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}
