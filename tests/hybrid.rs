//! Recurrent layers decode to the same results as in one pass, for any split into pieces, and can be rewound.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::model::cache::{CacheConfig, Extension, Past};
use darkhorse_genesis::model::mixer::{Mixer, MixerCache, MixerKind, TokenMixer};
use darkhorse_genesis::model::rope::Rope;
use darkhorse_genesis::model::{CausalLm, Context, ModelConfig, Phase, Sequences};

type B = Selected;

fn config(preset: &str) -> ModelConfig {
    let mut config = Experiment::preset(preset)
        .expect("there is such a preset")
        .model;
    config.vocab_size = 97;
    // rounding may change which of two nearly equal activations a hard mask keeps
    config.selective = None;
    config.initializer_range *= 5.0;
    config
}

fn models() -> impl Iterator<Item = (&'static str, CausalLm<B>)> {
    ["genesis-tiny", "darkhorse-hybrid"]
        .into_iter()
        .map(|name| (name, CausalLm::init(&config(name), 3, &Default::default())))
}

fn ids(len: usize, seed: i64) -> Vec<i64> {
    (0..len as i64)
        .map(|at| (at * 31 + seed * at * at + seed) % 97)
        .collect()
}

fn input(ids: &[i64], start: usize) -> Sequences<B> {
    let device = Default::default();
    let data = TensorData::new(ids.to_vec(), [1, ids.len()]);
    let positions = start as i64..(start + ids.len()) as i64;
    Sequences {
        positions: Tensor::<B, 1, Int>::arange(positions, &device).unsqueeze(),
        ..Sequences::plain(Tensor::from_data(data, &device))
    }
}

fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(case: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let off = found.iter().zip(expected).map(|(l, r)| (l - r).abs());
    let worst = off.fold(0.0, |worst, it| if it <= worst { worst } else { it });
    // other backends sum in another order
    let wider = if cfg!(feature = "flex") { 1.0 } else { 10.0 };
    assert!(worst <= tolerance * wider, "{case} is off by {worst:e}");
}

#[test]
fn any_pieces_of_a_sequence_give_what_it_gives_at_once() {
    for (name, model) in models() {
        for len in [1, 63, 64, 65, 200] {
            let ids = ids(len, 1);
            let expected = values(model.forward(&input(&ids, 0)));
            for piece in [1, 5, 16, 64] {
                let mut cache = model.empty_cache(&CacheConfig::default());
                let mut found = Vec::new();
                for (at, part) in ids.chunks(piece).enumerate() {
                    let hidden = model.extend_one(&input(part, at * piece), &mut cache);
                    found.extend(values(model.logits(hidden.states)));
                }
                assert_close(
                    &format!("{name}, {len} by {piece}"),
                    &found,
                    &expected,
                    2e-4,
                );
            }
        }
    }
}

#[test]
fn interleaved_conversations_do_not_touch_each_other() {
    for (name, model) in models() {
        let (one, two) = (ids(40, 1), ids(40, 5));
        let mut caches = [
            model.empty_cache(&CacheConfig::default()),
            model.empty_cache(&CacheConfig::default()),
        ];
        let mut found = [Vec::new(), Vec::new()];
        for at in 0..40 {
            for (which, ids) in [&one, &two].into_iter().enumerate() {
                let hidden = model.extend_one(&input(&ids[at..=at], at), &mut caches[which]);
                found[which].extend(values(model.logits(hidden.states)));
            }
        }
        for (found, ids) in found.iter().zip([&one, &two]) {
            let expected = values(model.forward(&input(ids, 0)));
            assert_close(name, found, &expected, 2e-4);
        }
    }
}

fn context(config: &ModelConfig, start: usize, len: usize) -> Context<B> {
    let positions = start as i64..(start + len) as i64;
    let positions = Tensor::<B, 1, Int>::arange(positions, &Default::default());
    Context {
        rotation: Rope::new(&config.rope, config.rope_dim().max(2)).at(positions.unsqueeze()),
        mask: AttentionMask::Causal,
        around: Default::default(),
        phase: Phase::Inference,
        step: None,
    }
}

/// After 20 positions, wrong drafts are rewound to every length, and the true positions follow.
#[test]
fn a_short_extension_can_be_taken_back_to_any_of_its_positions() {
    for preset in ["genesis-tiny", "darkhorse-hybrid"] {
        let config = config(preset);
        let model = CausalLm::<B>::init(&config, 3, &Default::default());
        let kinds = config.plan().into_iter().map(|layer| layer.mixer);
        for (layer, kind) in model.layers.iter().zip(kinds) {
            if kind == MixerKind::Mla {
                continue;
            }
            let width = config.hidden_size;
            let noise: Vec<f32> = ids(60 * width, 7)
                .iter()
                .map(|&it| it as f32 / 48.0 - 1.0)
                .collect();
            let hidden = Tensor::<B, 3>::from_data(
                TensorData::new(noise, [1, 60, width]),
                &Default::default(),
            );
            let mixer: &Mixer<B> = &layer.mixer;
            let all =
                values(mixer.forward(hidden.clone().narrow(1, 0, 50), &context(&config, 0, 50)));
            for drafted in [1, 4, 16] {
                for kept in 0..=drafted {
                    let mut cache = mixer.empty_cache(&CacheConfig::default());
                    let first = hidden.clone().narrow(1, 0, 20);
                    extend(mixer, first, &context(&config, 0, 20), &mut cache);
                    // only the first `kept` drafts are accepted
                    let parts = [(20, kept), (40, drafted - kept)].into_iter();
                    let parts = parts.filter(|&(_, len)| len > 0);
                    let parts = parts.map(|(start, len)| hidden.clone().narrow(1, start, len));
                    let draft = Tensor::cat(parts.collect(), 1);
                    extend(mixer, draft, &context(&config, 20, drafted), &mut cache);
                    cache.truncate(20 + kept);
                    let rest = 50 - 20 - kept;
                    let output = extend(
                        mixer,
                        hidden.clone().narrow(1, 20 + kept, rest),
                        &context(&config, 20 + kept, rest),
                        &mut cache,
                    );
                    let case = format!("{preset}, {kind:?}, {kept} of {drafted}");
                    assert_close(&case, &values(output), &all[(20 + kept) * width..], 2e-4);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "cannot go back to 3, only to 4 or to 0")]
fn a_state_goes_back_no_further_than_into_its_last_extension() {
    let config = config("genesis-tiny");
    let model = CausalLm::<B>::init(&config, 3, &Default::default());
    let mixer = &model.layers[0].mixer;
    let mut cache = mixer.empty_cache(&CacheConfig::default());
    let hidden = Tensor::<B, 3>::ones([1, 4, config.hidden_size], &Default::default());
    for start in [0, 4] {
        extend(
            mixer,
            hidden.clone(),
            &context(&config, start, 4),
            &mut cache,
        );
    }
    cache.truncate(3);
}

#[test]
fn the_state_does_not_grow_with_the_context() {
    let config = config("genesis-tiny");
    let model = CausalLm::<B>::init(&config, 3, &Default::default());
    let mixer = &model.layers[0].mixer;
    let sizes = [1, 300].map(|len| {
        let mut cache = mixer.empty_cache(&CacheConfig::default());
        let hidden = Tensor::<B, 3>::ones([1, len, config.hidden_size], &Default::default());
        extend(mixer, hidden.clone(), &context(&config, 0, len), &mut cache);
        extend(
            mixer,
            hidden.narrow(1, 0, 1),
            &context(&config, len, 1),
            &mut cache,
        );
        let MixerCache::Gla(cache) = cache else {
            panic!("another mixer");
        };
        cache.state().map(|state| state.shape().num_elements())
    });
    assert_eq!(sizes[0], sizes[1]);
}

struct Bf16;

impl burn::module::ModuleMapper<B> for Bf16 {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<B, D>>,
    ) -> burn::module::Param<Tensor<B, D>> {
        param.map(|tensor| tensor.cast(DType::BF16))
    }
}

#[test]
fn weights_in_bf16_run_at_once_and_with_a_cache() {
    if !B::supports_dtype(&Default::default(), DType::BF16) {
        println!("skipped: no bf16 on this backend");
        return;
    }
    let config = config("genesis-tiny");
    let model = CausalLm::<B>::init(&config, 3, &Default::default());
    let ids = ids(70, 2);
    let expected = values(model.forward(&input(&ids, 0)));
    let model = model.map(&mut Bf16);
    let whole = values(model.forward(&input(&ids, 0)).cast(DType::F32));
    let scale = expected.iter().fold(0.0f32, |max, it| max.max(it.abs()));
    assert_close("bf16", &whole, &expected, 0.1 * scale);
    let mut cache = model.empty_cache(&CacheConfig::default());
    let mut found = Vec::new();
    for (at, part) in [&ids[..66], &ids[66..67], &ids[67..]]
        .into_iter()
        .enumerate()
    {
        let start = [0, 66, 67][at];
        let hidden = model.extend_one(&input(part, start), &mut cache);
        found.extend(values(model.logits(hidden.states).cast(DType::F32)));
    }
    assert_close("bf16, cached", &found, &whole, 0.1 * scale);
}

/// Appends positions to a sequence.
fn extend<M: TokenMixer<B>>(
    mixer: &M,
    hidden: Tensor<B, 3>,
    context: &Context<B>,
    past: &mut M::Cache,
) -> Tensor<B, 3> {
    let [_, new, _] = hidden.dims();
    mixer.extend(hidden, context, &mut [Extension::new(past, new)])
}
