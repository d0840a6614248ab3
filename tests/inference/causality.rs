//! Causality: a position depends on earlier positions of its own document only, however it is computed.

use crate::support::{hybrid_config, mixer_config, small_config};
use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::model::cache::{CacheConfig, REVERSIBLE};
use darkhorse_genesis::model::dtype::Dtype;
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig, Sequences};

type B = Selected;

const MODES: [DomainMode; 3] = [DomainMode::Off, DomainMode::Soft, DomainMode::Hard];

/// Every domain mode with latent attention alone and beside grouped-query attention, and every mixer alone.
fn every_kind() -> impl Iterator<Item = (DomainMode, ModelConfig)> {
    let modes = MODES
        .into_iter()
        .flat_map(|mode| [small_config, hybrid_config].map(|config| (mode, config(mode))));
    let mode = DomainMode::Off;
    modes.chain(MixerKind::ALL.map(|kind| (mode, mixer_config(kind, mode))))
}

fn matrix(rows: &[&[i32]]) -> Tensor<B, 2, Int> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), &Default::default())
}

fn tagged(ids: &[i32], domain: Domain) -> Sequences<B> {
    let tags = vec![domain.index() as i32; ids.len()];
    Sequences {
        tags: Some(Tensor::from_data(
            TensorData::new(tags, [ids.len()]),
            &Default::default(),
        )),
        ..Sequences::plain(matrix(&[ids]))
    }
}

fn values(tensor: Tensor<B, 3>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter()
        .zip(right)
        .map(|(l, r)| (l - r).abs())
        .fold(0.0, f32::max)
}

fn ids(len: usize) -> Vec<i32> {
    (0..len as i32).map(|i| (i * 31 + 7) % 97).collect()
}

#[test]
fn changing_a_token_leaves_the_logits_before_it_unchanged() {
    for (mode, config) in every_kind() {
        let model = CausalLm::<B>::init(&config, 1, &Default::default());
        let original = ids(20);
        let mut changed = original.clone();
        changed[11] = 3;

        let before = values(model.forward(&tagged(&original, Domain::Code)));
        let after = values(model.forward(&tagged(&changed, Domain::Code)));

        assert_eq!(before[..11 * 97], after[..11 * 97], "{mode:?}");
        assert!(largest_difference(&before[11 * 97..], &after[11 * 97..]) > 0.1);
    }
}

/// Logits of ids read in pieces: a few, then a long piece, then token by token.
fn in_pieces(model: &CausalLm<B>, ids: &[i32], format: Option<PageFormat>) -> Vec<f32> {
    let mut cache = model.empty_cache(&CacheConfig {
        page_len: 7,
        format,
    });
    let mut logits = Vec::new();
    let single = (70..ids.len()).map(|i| i..i + 1);
    for range in [0..17, 17..25, 25..70].into_iter().chain(single) {
        let mut input = tagged(&ids[range.clone()], Domain::Legal);
        input.positions = input.positions + range.start as i64;
        let hidden = model.extend_one(&input, &mut cache);
        logits.extend(values(model.logits(hidden.states)));
    }
    assert_eq!(cache.len(), ids.len());
    logits
}

#[test]
fn prefill_and_decode_equal_the_full_forward() {
    for (mode, config) in every_kind() {
        let model = CausalLm::<B>::init(&config, 2, &Default::default());
        let ids = ids(85);
        let full = values(model.forward(&tagged(&ids, Domain::Legal)));
        let difference = largest_difference(&full, &in_pieces(&model, &ids, None));
        let kinds = &config.layer_types;
        // one computes states and sums of gates chunk by chunk, the other token by token
        let sums = [MixerKind::Gla, MixerKind::Fox];
        let has_sums = kinds.iter().any(|kind| sums.contains(kind));
        let tolerance = if has_sums { 2e-4 } else { 1e-4 };
        assert!(difference < tolerance, "{mode:?}, {kinds:?}: {difference}");
    }
}

/// Without experts, since rounding may flip a close choice of experts, which changes whole rows.
#[test]
fn a_cache_of_8_bits_changes_the_logits_little() {
    let off = DomainMode::Off;
    for (config, most) in [
        (small_config(off), 0.005),
        (hybrid_config(off), 0.005),
        (mixer_config(MixerKind::Fox, off), 0.01),
        (mixer_config(MixerKind::GatedAttention, off), 0.01),
    ] {
        // large weights give large attention scores, whose softmax amplifies rounding
        let config = ModelConfig {
            first_k_dense_replace: config.num_hidden_layers,
            initializer_range: 0.1,
            embedding_initializer_range: None,
            ..config
        };
        let model = CausalLm::<B>::init(&config, 2, &Default::default());
        let ids = ids(85);
        let exact = in_pieces(&model, &ids, None);
        let rounded = in_pieces(&model, &ids, Some(PageFormat::EightBits));
        let apart = exact.iter().zip(&rounded).map(|(l, r)| (l - r).abs());
        let (mean, size) = (
            apart.sum::<f32>() / exact.len() as f32,
            exact.iter().map(|it| it.abs()).sum::<f32>() / exact.len() as f32,
        );
        let kinds = &config.layer_types;
        assert!(
            mean > 0.0 && mean < most * size,
            "{kinds:?}: {mean} of {size}"
        );
    }
}

#[test]
fn a_cache_of_every_mixer_takes_the_bytes_that_are_counted() {
    for kind in MixerKind::ALL {
        let config = mixer_config(kind, DomainMode::Off);
        let model = CausalLm::<B>::init(&config, 2, &Default::default());
        for (format, dtype) in [
            (PageFormat::Numbers(DType::F32), Dtype::F32),
            (PageFormat::Numbers(DType::BF16), Dtype::Bf16),
            (PageFormat::Numbers(DType::F16), Dtype::Bf16),
            (PageFormat::EightBits, Dtype::Q8),
        ] {
            if let PageFormat::Numbers(dtype) = format
                && !B::supports_dtype(&Default::default(), dtype)
            {
                continue;
            }
            let mut cache = model.empty_cache(&CacheConfig {
                page_len: 1,
                format: Some(format),
            });
            let mut extend = |range: Range<usize>| {
                let mut input = tagged(&ids(range.end)[range.clone()], Domain::Code);
                input.positions = input.positions + range.start as i64;
                model.extend_one(&input, &mut cache);
                cache.memory_bytes() as u64
            };
            let counted = |len| config.cache_bytes(len, dtype) + config.state_bytes(Dtype::F32);
            extend(0..20);
            // the cache is largest after the longest reversible extension
            let held = extend(20..20 + REVERSIBLE);
            assert_eq!(held, counted(20 + REVERSIBLE), "{kind:?}, {format:?}");
            let held = extend(20 + REVERSIBLE..21 + REVERSIBLE);
            assert!(held <= counted(21 + REVERSIBLE), "{kind:?}, {format:?}");
        }
    }
}

#[test]
fn packed_documents_give_the_logits_of_the_same_documents_alone() {
    for (mode, config) in every_kind() {
        let model = CausalLm::<B>::init(&config, 3, &Default::default());
        let (first, second) = (ids(13), ids(24)[5..].to_vec());
        let packed = [first.clone(), second.clone()].concat();
        let count = |len: usize| (0..len as i32).collect::<Vec<_>>();
        let segments = [vec![0; first.len()], vec![1; second.len()]].concat();
        let positions = [count(first.len()), count(second.len())].concat();
        let mut input = tagged(&packed, Domain::Physics);
        input.mask = AttentionMask::Documents(matrix(&[&segments]));
        input.positions = matrix(&[&positions]);

        let together = values(model.forward(&input));
        let alone = [
            values(model.forward(&tagged(&first, Domain::Physics))),
            values(model.forward(&tagged(&second, Domain::Physics))),
        ]
        .concat();

        let difference = largest_difference(&together, &alone);
        assert!(difference < 1e-4, "{mode:?}: {difference}");
    }
}

#[test]
fn a_tag_changes_the_choice_of_experts_in_every_mode_but_off() {
    for mode in MODES {
        let model = CausalLm::<B>::init(&small_config(mode), 4, &Default::default());
        let as_code = values(model.forward(&tagged(&ids(20), Domain::Code)));
        let as_law = values(model.forward(&tagged(&ids(20), Domain::Legal)));
        assert_eq!(as_code == as_law, mode == DomainMode::Off, "{mode:?}");
    }
}

#[test]
fn mtp_states_do_not_look_past_the_token_they_are_given() {
    let model = CausalLm::<B>::init(&small_config(DomainMode::Off), 5, &Default::default());
    let further = |ids: &[i32]| {
        let input = tagged(ids, Domain::Code);
        let hidden = model.hidden(&input);
        values(model.predict_further(0, hidden.states, &input).states)
    };
    let original = ids(20);
    let mut changed = original.clone();
    changed[11] = 3;
    let (before, after) = (further(&original), further(&changed));
    // position 10 is the first that is given token 11
    assert_eq!(before[..10 * 32], after[..10 * 32]);
    assert!(largest_difference(&before[10 * 32..11 * 32], &after[10 * 32..11 * 32]) > 1e-3);
}
