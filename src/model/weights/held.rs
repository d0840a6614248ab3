//! Weights that are held in a narrower type than the model computes in.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path as FilePath;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::load::shapes;
use super::named::Path;
use super::{WeightError, WeightSource};

/// A type for the matrices of a model: its projections, experts and embedding table. Norms, biases and routers keep
/// the device's default type.
#[derive(Debug, Clone)]
pub struct Narrow {
    matrices: BTreeSet<String>,
    dtype: DType,
}

impl Narrow {
    /// Holds in `dtype` what `quantized`, the same model in blocks, has in blocks, and the embedding table.
    pub fn new<B: Backend, M: Module<B>>(quantized: &M, dtype: DType) -> Self {
        let names = shapes(quantized).into_keys();
        let blocks = names.filter_map(|name| Some(name.strip_suffix(".values")?.to_owned()));
        Self {
            matrices: blocks.chain(["embed_tokens".into()]).collect(),
            dtype,
        }
    }

    fn of(&self, name: &str) -> Option<DType> {
        self.matrices.contains(name).then_some(self.dtype)
    }

    /// Casts the matrices of `module`.
    pub fn cast<B: Backend, M: Module<B>>(&self, module: M) -> M {
        module.map(&mut Cast {
            path: Path::default(),
            narrow: self,
        })
    }

    /// Presents `source` as one whose matrices [`load`](super::load) holds in this type.
    pub fn source<'a>(&'a self, source: &'a dyn WeightSource) -> HeldNarrow<'a> {
        HeldNarrow {
            source,
            narrow: self,
        }
    }
}

struct Cast<'a> {
    path: Path,
    narrow: &'a Narrow,
}

impl<B: Backend> ModuleMapper<B> for Cast<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        match self.narrow.of(&self.path.name()) {
            Some(dtype) => param.map(|tensor| tensor.cast(dtype)),
            None => param,
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

/// A source with the types that a [`Narrow`] gives.
pub struct HeldNarrow<'a> {
    source: &'a dyn WeightSource,
    narrow: &'a Narrow,
}

impl fmt::Debug for HeldNarrow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path().display(), self.narrow.dtype)
    }
}

impl WeightSource for HeldNarrow<'_> {
    fn path(&self) -> &FilePath {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(name)
    }

    fn held(&self, name: &str) -> Option<DType> {
        self.narrow.of(name)
    }

    fn check(&self, name: &str, expected: &[usize]) -> Result<(), WeightError> {
        self.source.check(name, expected)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        self.source.data(name)
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        self.source.part(name, index)
    }
}
