//! Loads all tensors of a source into a module.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{BasicOps, DType, TensorData, TensorKind};

use super::named::Path;
use super::{WeightError, WeightSource};

/// Loads the tensors of `source` into `module`, which keeps its parameter ids, `require_grad` and devices.
///
/// Floats are cast to the module's type, and integers too if every value fits. Lazy parameters are loaded without
/// drawing initial values, except floats of at most 2^16 values. Large lazy floats get the device's default type,
/// lazy integers and scales of blocks the type of the source. [`WeightSource::held`] goes before all that.
///
/// # Errors
///
/// [`WeightError::Missing`], [`WeightError::Unexpected`], [`WeightError::Shape`], [`WeightError::Dtype`], or
/// [`WeightError::Read`]. The module is consumed.
pub fn load<B: Backend, M: Module<B>>(
    module: M,
    source: &dyn WeightSource,
) -> Result<M, WeightError> {
    let expected = shapes(&module);
    check_names(&expected, source)?;
    check_sizes(&expected, source)?;

    let mut loader = Loader {
        path: Path::default(),
        source,
        failure: None,
    };
    let module = module.map(&mut loader);
    match loader.failure {
        Some(failure) => Err(failure),
        None => Ok(module),
    }
}

/// Shape of every parameter of a module, by name. Initializes none.
pub(super) fn shapes<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut expected = Expected::default();
    module.visit(&mut expected);
    expected.shapes
}

pub(super) fn check_names(
    expected: &BTreeMap<String, Vec<usize>>,
    source: &dyn WeightSource,
) -> Result<(), WeightError> {
    let path = source.path().to_path_buf();
    let mut names: Vec<String> = expected.keys().cloned().collect();
    names.retain(|name| source.shape(name).is_none());
    if !names.is_empty() {
        return Err(WeightError::Missing { path, names });
    }
    names = source.names();
    names.retain(|name| !expected.contains_key(name));
    if !names.is_empty() {
        return Err(WeightError::Unexpected { path, names });
    }
    Ok(())
}

fn check_sizes(
    expected: &BTreeMap<String, Vec<usize>>,
    source: &dyn WeightSource,
) -> Result<(), WeightError> {
    for (name, expected) in expected {
        let found = source.shape(name).unwrap_or_default();
        // a parameter may be stored transposed (burn's load mappers): its final shape is checked later
        let [mut a, mut b] = [found.clone(), expected.clone()];
        a.sort_unstable();
        b.sort_unstable();
        if a != b {
            return Err(wrong_shape(source, name, &found, expected));
        }
    }
    Ok(())
}

fn wrong_shape(
    source: &dyn WeightSource,
    name: &str,
    found: &[usize],
    expected: &[usize],
) -> WeightError {
    WeightError::Shape {
        path: source.path().to_path_buf(),
        name: name.into(),
        found: found.to_vec(),
        expected: expected.to_vec(),
    }
}

/// Visitor that collects names and shapes of a module's parameters, without initializing them.
#[derive(Debug, Default)]
struct Expected {
    path: Path,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for Expected {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.shapes
            .insert(self.path.name(), param.lazy_shape().to_vec());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<B, D, Int>>) {
        self.shapes
            .insert(self.path.name(), param.lazy_shape().to_vec());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<B, D, Bool>>) {
        self.shapes
            .insert(self.path.name(), param.lazy_shape().to_vec());
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

struct Loader<'a> {
    path: Path,
    source: &'a dyn WeightSource,
    failure: Option<WeightError>,
}

impl Loader<'_> {
    /// Reads the tensor at the current path as `dtype`, or else as the device's default type of this kind.
    fn read<B: Backend, const D: usize, K>(
        &self,
        device: &B::Device,
        dtype: Option<DType>,
        kind: Kind,
    ) -> Result<Tensor<B, D, K>, WeightError>
    where
        K: TensorKind<B> + BasicOps<B>,
    {
        let name = self.path.name();
        let data = self.source.data(&name)?;
        if !kind.takes(&data, dtype) {
            return Err(WeightError::Dtype {
                path: self.source.path().to_path_buf(),
                name,
                found: format!("{:?}", data.dtype),
                expected: dtype.map_or(format!("{kind:?}"), |dtype| format!("{dtype:?}")),
            });
        }
        Ok(match dtype {
            Some(dtype) => Tensor::from_data(data, (device, dtype)),
            None => Tensor::from_data(data, device),
        })
    }

    /// Type of the source if the current tensor holds scales of blocks, which keep their type.
    fn dtype_of_scales(&self) -> Option<DType> {
        let name = self.path.name();
        name.ends_with(".scales")
            .then(|| self.source.dtype(&name))?
    }

    fn check_shape(&self, found: &[usize], expected: &[usize]) -> Result<(), WeightError> {
        if found == expected {
            Ok(())
        } else {
            Err(wrong_shape(self.source, &self.path.name(), found, expected))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    Bool,
}

impl Kind {
    fn takes(self, data: &TensorData, dtype: Option<DType>) -> bool {
        match self {
            Self::Float => data.dtype.is_float(),
            Self::Bool => data.dtype.is_bool(),
            Self::Int => {
                let is_int = data.dtype.is_int() || data.dtype.is_uint();
                is_int && dtype.is_none_or(|dtype| fits(data, dtype))
            }
        }
    }
}

/// Whether `dtype` can represent every integer of `data`.
fn fits(data: &TensorData, dtype: DType) -> bool {
    if data.dtype == dtype {
        return true;
    }
    let (min, max) = match dtype {
        DType::I64 => (i64::MIN as i128, i64::MAX as i128),
        DType::I32 => (i32::MIN as i128, i32::MAX as i128),
        DType::I16 => (i16::MIN as i128, i16::MAX as i128),
        DType::I8 => (i8::MIN as i128, i8::MAX as i128),
        DType::U64 => (0, u64::MAX as i128),
        DType::U32 => (0, u32::MAX as i128),
        DType::U16 => (0, u16::MAX as i128),
        DType::U8 => (0, u8::MAX as i128),
        _ => return false,
    };
    let fits = |value: i128| (min..=max).contains(&value);
    match data.dtype {
        DType::U64 => data.iter::<u64>().all(|value| fits(value.into())),
        _ => data.iter::<i64>().all(|value| fits(value.into())),
    }
}

/// Number of values up to which a lazy parameter is initialized to learn its type: that cost is negligible.
const SMALL: usize = 1 << 16;

impl<B: Backend> ModuleMapper<B> for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.failure.is_some() {
            return param;
        }
        let is_small = || param.lazy_shape().num_elements() <= SMALL;
        let dtype = match self.source.held(&self.path.name()) {
            Some(dtype) => Some(dtype),
            None if param.is_initialized() || is_small() => Some(param.dtype()),
            None => self.dtype_of_scales(),
        };
        let tensor = self.read(&param.lazy_device(), dtype, Kind::Float);
        let loaded = tensor.and_then(|tensor: Tensor<B, D>| {
            let id = param.id;
            // an uninitialized parameter has the shape before its load mappers, like the stored tensor
            if !param.is_initialized() {
                self.check_shape(&tensor.dims(), &param.lazy_shape())?;
                return Ok(param.clone().transform_for_load(tensor, id));
            }
            let loaded = param.clone().transform_for_load(tensor, id);
            self.check_shape(&loaded.dims(), &param.dims())?;
            Ok(loaded)
        });
        loaded.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            param
        })
    }

    fn map_int<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Int>>,
    ) -> Param<Tensor<B, D, Int>> {
        if self.failure.is_some() {
            return param;
        }
        let dtype = if param.is_initialized() {
            Some(param.dtype())
        } else {
            self.source.dtype(&self.path.name())
        };
        let tensor = self.read(&param.lazy_device(), dtype, Kind::Int);
        let loaded = tensor.and_then(|tensor: Tensor<B, D, Int>| {
            let id = param.id;
            let shape = param.lazy_shape();
            let loaded = param.clone().transform_for_load(tensor, id);
            self.check_shape(&loaded.dims(), &shape)?;
            Ok(loaded)
        });
        loaded.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            param
        })
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D, Bool>>,
    ) -> Param<Tensor<B, D, Bool>> {
        if self.failure.is_some() {
            return param;
        }
        let tensor = self.read(&param.lazy_device(), None, Kind::Bool);
        let loaded = tensor.and_then(|tensor: Tensor<B, D, Bool>| {
            let id = param.id;
            let shape = param.lazy_shape();
            let loaded = param.clone().transform_for_load(tensor, id);
            self.check_shape(&loaded.dims(), &shape)?;
            Ok(loaded)
        });
        loaded.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            param
        })
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

#[cfg(test)]
mod tests;
