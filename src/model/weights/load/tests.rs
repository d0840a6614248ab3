//! Weights are restored bit for bit, or the error names those that are not.

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

/// A source of the given tensors.
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
    // the large parameter is still uninitialized when it is loaded
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
