//! Tensors of a source into a module: every one of them, and no other.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::{BasicOps, DType, TensorData, TensorKind};

use super::named::Path;
use super::{WeightError, WeightSource};

/// Puts the tensors of `source` into `module`. Parameter ids, `require_grad` and devices stay the module's.
///
/// Floats of another width are cast to the module's type, integers too if every value fits. A parameter
/// that was not initialized yet never is, unless it is small; a large one takes the device's float type.
///
/// # Errors
///
/// [`WeightError::Missing`], [`WeightError::Unexpected`],
/// [`WeightError::Shape`], [`WeightError::Dtype`]; the module is gone then.
pub fn load<B: Backend, M: Module<B>>(
    module: M,
    source: &dyn WeightSource,
) -> Result<M, WeightError> {
    let mut expected = Expected::default();
    module.visit(&mut expected);
    check_names(&expected.shapes, source)?;

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

fn check_names(
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
    for (name, expected) in expected {
        let found = source.shape(name).unwrap_or_default();
        // a parameter may be stored transposed (burn's load mappers): its final shape is compared again
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

/// Names and shapes of a module's parameters, without initializing them.
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
    /// Reads the tensor at the current path as `dtype`, or as the device's default of its kind.
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

    fn check_shape(&self, found: &[usize], expected: &[usize]) -> Result<(), WeightError> {
        match found == expected {
            true => Ok(()),
            false => Err(wrong_shape(self.source, &self.path.name(), found, expected)),
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

/// Whether every integer of `data` is one of `dtype`.
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

/// Up to here initializing a parameter, only to learn its type, costs nothing that one would notice.
const SMALL: usize = 1 << 16;

impl<B: Backend> ModuleMapper<B> for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.failure.is_some() {
            return param;
        }
        let is_cheap = param.is_initialized() || param.lazy_shape().num_elements() <= SMALL;
        let dtype = is_cheap.then(|| param.dtype());
        let tensor = self.read(&param.lazy_device(), dtype, Kind::Float);
        let loaded = tensor.and_then(|tensor: Tensor<B, D>| {
            let id = param.id;
            // the shape of an uninitialized parameter is that before its mappers, like a file's
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
        let tensor = self.read(&param.lazy_device(), Some(param.dtype()), Kind::Int);
        let loaded = tensor.and_then(|tensor: Tensor<B, D, Int>| {
            let id = param.id;
            let shape = param.dims();
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
mod tests {
    use super::*;
    use crate::model::weights::{InMemory, NamedTensor, collect, param_names};
    use burn::backend::Autodiff;
    use burn::nn::{Linear, LinearConfig, LinearLayout};
    use darkhorse_backends::select::Selected;

    type B = Autodiff<Selected>;

    #[derive(Module, Debug)]
    enum Mixer<B: Backend> {
        Wide(Linear<B>),
        Narrow(Linear<B>),
    }

    #[derive(Module, Debug)]
    struct Toy<B: Backend> {
        layers: Vec<Mixer<B>>,
        head: Option<Linear<B>>,
        none: Option<Linear<B>>,
        pair: (Linear<B>, [Linear<B>; 1]),
        bias: Param<Tensor<B, 1>>,
        counts: Param<Tensor<B, 1, Int>>,
        mask: Param<Tensor<B, 1, Bool>>,
        width: usize,
    }

    fn toy<B: Backend>() -> Toy<B> {
        let device = Default::default();
        let linear = || LinearConfig::new(2, 3).with_bias(false).init(&device);
        Toy {
            layers: vec![Mixer::Wide(linear()), Mixer::Narrow(linear())],
            head: Some(LinearConfig::new(2, 3).init(&device)),
            none: None,
            pair: (linear(), [linear()]),
            bias: Param::from_tensor(Tensor::ones([4], &device)).set_require_grad(false),
            counts: Param::initialized(Default::default(), Tensor::from_ints([1, -2], &device)),
            mask: Param::initialized(
                Default::default(),
                Tensor::from_data([true, false, true], &device),
            ),
            width: 2,
        }
    }

    /// Tensors as a source.
    fn source<'t, T: Into<NamedTensor<'t>>>(tensors: impl IntoIterator<Item = T>) -> InMemory {
        let tensors = tensors.into_iter().map(Into::into);
        let tensors = tensors.map(|it: NamedTensor<'_>| (it.name.clone(), it.read().unwrap()));
        InMemory::new("memory", tensors)
    }

    fn values<M: Module<B>>(module: &M) -> Vec<(String, TensorData)> {
        let tensors = collect::<B, M>(module).into_iter();
        tensors
            .map(|it| (it.name.clone(), it.read().unwrap()))
            .collect()
    }

    #[test]
    fn names_are_paths_without_the_variants_of_enums() {
        let names: Vec<_> = collect(&toy::<B>()).into_iter().map(|it| it.name).collect();
        assert_eq!(
            names,
            [
                "layers.0.weight",
                "layers.1.weight",
                "head.weight",
                "head.bias",
                "pair.0.weight",
                "pair.1.0.weight",
                "bias",
                "counts",
                "mask",
            ]
        );
    }

    #[test]
    fn every_tensor_comes_back_bit_for_bit_and_ids_and_flags_stay() {
        let saved = toy::<B>();
        let source = source(collect(&saved));
        let target = toy::<B>();
        let ids = param_names(&target);

        let loaded = load(target, &source).unwrap();

        assert_eq!(values(&loaded), values(&saved));
        assert_eq!(param_names(&loaded), ids);
        assert_eq!(ids[&loaded.bias.id], "bias");
        assert!(!loaded.bias.is_require_grad());
        assert!(loaded.pair.0.weight.is_require_grad());
    }

    #[test]
    fn a_parameter_that_is_held_twice_goes_by_its_first_name() {
        let mut tied = toy::<B>();
        tied.pair.1[0] = tied.pair.0.clone();
        let names = param_names(&tied);
        assert_eq!(names[&tied.pair.1[0].weight.id], "pair.0.weight");
    }

    #[test]
    fn a_parameter_that_is_stored_transposed_comes_back_right() {
        let device = Default::default();
        // the large one is not initialized when it is loaded
        for (width, is_initialized) in [(3, false), (3, true), (SMALL, false)] {
            let config = LinearConfig::new(2, width).with_layout(LinearLayout::Col);
            let saved: Linear<B> = config.init(&device);
            let source = source(collect(&saved));
            assert_eq!(source.shape("weight"), Some(vec![width, 2]));

            let target: Linear<B> = config.init(&device);
            if is_initialized {
                target.weight.val();
            }
            let loaded = load(target, &source).unwrap();

            assert_eq!(loaded.weight.to_data(), saved.weight.to_data());
        }
    }

    #[test]
    fn a_large_parameter_is_not_initialized_in_vain() {
        let device = Default::default();
        let linear = || {
            LinearConfig::new(2, SMALL)
                .with_bias(false)
                .init::<B>(&device)
        };
        let source = source(collect(&linear()));
        let mut target = linear();
        target.weight = target.weight.init_mapper(|_| panic!("initialized"));

        let loaded = load(target, &source).unwrap();

        assert!(loaded.weight.is_require_grad());
    }

    #[test]
    fn missing_and_unexpected_tensors_are_named() {
        let [mut less, mut more] = [collect(&toy::<B>()), collect(&toy::<B>())];
        less.retain(|it| !it.name.starts_with("pair"));
        more.push(("extra".into(), TensorData::from([1.0f32])).into());

        let message = |tensors: Vec<NamedTensor<'_>>| {
            let source = source(tensors);
            load(toy::<B>(), &source).unwrap_err().to_string()
        };
        let lacking = message(less);
        assert!(
            lacking.contains("lacks 2 of the module's tensors: pair.0.weight, pair.1.0.weight;"),
            "{lacking}"
        );
        let unexpected = message(more);
        assert!(
            unexpected.contains("has 1 tensors that the module lacks: extra;"),
            "{unexpected}"
        );
    }

    /// The error of loading a [`Toy`] whose tensor `name` was replaced by `data`.
    fn replaced(name: &str, data: impl Into<TensorData>) -> Result<Toy<B>, WeightError> {
        let mut tensors = collect(&toy::<B>());
        tensors.retain(|it| it.name != name);
        tensors.push((name.into(), data.into()).into());
        let source = source(tensors);
        load(toy::<B>(), &source)
    }

    #[test]
    fn a_wrong_shape_is_named_with_both() {
        for (data, found) in [
            (TensorData::zeros::<f32, _>([2, 4]), "[2, 4]"),
            (TensorData::zeros::<f32, _>([3, 2]), "[3, 2]"),
            (TensorData::zeros::<f32, _>([6]), "[6]"),
        ] {
            let message = replaced("pair.0.weight", data).unwrap_err().to_string();
            assert!(
                message.starts_with("tensor `pair.0.weight` in "),
                "{message}"
            );
            assert!(
                message.ends_with(&format!("has shape {found}, expected [2, 3]")),
                "{message}"
            );
        }
    }

    #[test]
    fn floats_are_cast_and_other_types_are_not_mixed() {
        let half = TensorData::from([0.5f32, 1.0, 2.0, 3.0]).convert_dtype(DType::BF16);
        let loaded = replaced("bias", half).unwrap();
        assert_eq!(
            loaded.bias.to_data(),
            TensorData::from([0.5f32, 1.0, 2.0, 3.0])
        );

        let counts = replaced("counts", TensorData::from([3i16, -4])).unwrap();
        assert_eq!(
            counts.counts.to_data().iter::<i64>().collect::<Vec<_>>(),
            [3, -4]
        );

        for (name, data) in [
            ("bias", TensorData::from([1i64, 2, 3, 4])),
            ("counts", TensorData::from([1.0f32, 2.0])),
            ("counts", TensorData::from([u64::MAX, 0])),
            ("mask", TensorData::from([1u8, 0, 1])),
        ] {
            let error = replaced(name, data).unwrap_err();
            assert!(
                matches!(&error, WeightError::Dtype { name: found, .. } if found == name),
                "{error}"
            );
        }
    }
}
