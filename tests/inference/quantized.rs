//! A model with quantized weights computes the same as one with the dequantized values.

use crate::support::{mixer_config, small_config};
use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::quantized::reference::{dequantize, quantize};
use darkhorse_backends::select::Selected;
use darkhorse_genesis::model::matrix::Quantization;
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::weights::{InBlocks, InMemory, WeightSource, collect, load};
use darkhorse_genesis::model::{CausalLm, ModelConfig, Sequences};

type B = Selected;

/// A model whose widths are whole blocks, except for the head and the projection to the latent.
fn config(quantization: Option<Quantization>) -> ModelConfig {
    let mut config = small_config(DomainMode::Soft);
    config.hidden_size = 64;
    config.intermediate_size = 96;
    let mla = config.mixer.mla.as_mut().expect("it has one");
    mla.q_lora_rank = Some(32);
    mla.kv_lora_rank = 24;
    mla.qk_nope_head_dim = 32;
    mla.qk_rope_head_dim = 16;
    mla.v_head_dim = 64;
    let moe = config.moe.as_mut().expect("it has experts");
    moe.moe_intermediate_size = 32;
    config.initializer_range = 0.1;
    config.quantization = quantization;
    config.validate().expect("the widths are whole blocks");
    config
}

fn weights(model: &CausalLm<B>) -> InMemory {
    let tensors = collect(model).into_iter().map(|tensor| {
        let name = tensor.name.clone();
        (name, tensor.read().expect("it is in memory"))
    });
    InMemory::new("memory", tensors)
}

fn logits(model: &CausalLm<B>) -> Vec<f32> {
    let ids: Vec<i32> = (0..40).map(|i| i * 31 % 97).collect();
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [1, 40]), &Default::default());
    let logits = model.forward(&Sequences::plain(ids));
    logits.into_data().iter::<f32>().collect()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    let pairs = left.iter().zip(right);
    pairs.map(|(l, r)| (l - r).abs()).fold(0.0, f32::max)
}

fn mean_difference(left: &[f32], right: &[f32]) -> f32 {
    let pairs = left.iter().zip(right);
    pairs.map(|(l, r)| (l - r).abs()).sum::<f32>() / left.len() as f32
}

/// The weights with every matrix quantized and dequantized.
fn rounded(dense: &InMemory, quantized: &CausalLm<B>, quantization: Quantization) -> InMemory {
    let wanted = InBlocks::new(dense, quantized, quantization.bits()).names();
    let tensors = dense.names().into_iter().map(|name| {
        let data = dense.data(&name).expect("it is in memory");
        if !wanted.contains(&format!("{name}.values")) {
            return (name, data);
        }
        let shape = data.shape.to_vec();
        let [rows, width] = [
            shape.iter().product::<usize>() / shape[shape.len() - 1],
            shape[shape.len() - 1],
        ];
        let matrix = Tensor::<B, 1>::from_data(
            TensorData {
                shape: [rows * width].into(),
                ..data
            },
            &Default::default(),
        );
        let blocks = quantize(
            matrix.reshape([rows, width]),
            quantization.bits(),
            DType::F16,
        );
        let mut back = dequantize(blocks.expect("the rows are whole")).into_data();
        back.shape = shape.into();
        (name, back)
    });
    InMemory::new("memory", tensors)
}

#[test]
fn blocks_give_the_logits_of_the_numbers_that_they_stand_for() {
    let device = Default::default();
    for (quantization, apart) in [(Quantization::Q8, 0.1), (Quantization::Q4, 1.5)] {
        let dense = CausalLm::<B>::init(&config(None), 3, &device);
        let stored = weights(&dense);
        let empty = CausalLm::<B>::init(&config(Some(quantization)), 0, &device);
        let back = rounded(&stored, &empty, quantization);
        let source = InBlocks::new(&stored, &empty, quantization.bits());
        let quantized = load(empty.clone(), &source).expect("it has all tensors");
        let expected = load(dense.clone(), &back).expect("it has all tensors");
        let difference = largest_difference(&logits(&quantized), &logits(&expected));
        assert!(difference < 2e-4, "{quantization:?}: {difference}");
        // rounding may change a close choice of experts, and thus single rows
        let difference = mean_difference(&logits(&quantized), &logits(&dense));
        assert!(
            difference > 1e-4 && difference < apart,
            "{quantization:?}: {difference}"
        );
    }
}

#[test]
fn drawn_blocks_are_the_drawn_numbers_rounded_and_come_back_from_a_file() {
    let device = Default::default();
    let quantized = CausalLm::<B>::init(&config(Some(Quantization::Q8)), 3, &device);
    let dense = weights(&CausalLm::<B>::init(&config(None), 3, &device));
    let empty = CausalLm::<B>::init(&config(Some(Quantization::Q8)), 0, &device);
    let rounded = InBlocks::new(&dense, &empty, Quantization::Q8.bits());
    let drawn = weights(&quantized);
    assert_eq!(drawn.names(), rounded.names());
    for name in drawn.names() {
        let [drawn, rounded] =
            [drawn.data(&name), rounded.data(&name)].map(|it| it.expect("it is there"));
        assert_eq!(drawn, rounded, "{name}");
    }
    let again = load(empty, &drawn).expect("it has all tensors");
    assert_eq!(logits(&again), logits(&quantized));
}

/// A model with every part that stays unquantized, test-time training included.
fn with_odd_parts(kind: MixerKind, quantization: Option<Quantization>) -> ModelConfig {
    let mixer = mixer_config(kind, DomainMode::Off).mixer;
    let mut config = config(quantization);
    config.layer_types = vec![kind];
    config.domains.mode = DomainMode::Off;
    config.mlp_bias = true;
    config.ttt = Some(serde_json::from_str(r#"{"rank": 4}"#).expect("the rest has defaults"));
    let moe = config.moe.as_mut().expect("it has experts");
    moe.shared_expert_intermediate_size = Some(40);
    if kind != MixerKind::Mla {
        config.mixer = mixer;
    }
    if let Some(gqa) = &mut config.mixer.gqa {
        gqa.head_dim = 16;
    }
    config.validate().expect("the configuration is valid");
    config
}

#[test]
fn weights_of_every_mixer_are_those_counted_in_blocks_and_as_numbers() {
    for kind in MixerKind::ALL {
        for quantization in [None, Some(Quantization::Q8)] {
            let config = with_odd_parts(kind, quantization);
            let model = CausalLm::<B>::init(&config, 3, &Default::default());
            let mut blocks = 0;
            let mut numbers = 0;
            for tensor in collect(&model) {
                let count = tensor.shape.iter().product::<usize>() as u64;
                if tensor.name.ends_with(".scales") {
                    blocks += 32 * count;
                } else if !tensor.name.ends_with(".values")
                    && !tensor.name.ends_with("e_score_correction_bias")
                {
                    numbers += count;
                }
            }
            let case = format!("{kind:?}, {quantization:?}");
            assert_eq!(blocks + numbers, config.num_trained_params(), "{case}");
            if quantization.is_some() {
                assert_eq!(numbers, config.num_unquantized_params(), "{case}");
            }
        }
    }
}

#[test]
fn widths_that_are_not_whole_blocks_are_refused_by_name() {
    let mut config = config(Some(Quantization::Q4));
    config.intermediate_size = 40;
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "`intermediate_size` is 40, expected a multiple of 32 for weights in blocks: leave quantization out"
    );
}
