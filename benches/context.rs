//! Time and memory per layer for one more token after a context of 2K, 16K and 128K positions: `cargo bench --bench
//! context -- [--forgetting-128k]`. The layers are those of Genesis-152M.
//!
//! A linear layer keeps a state of fixed size. A layer of forgetting attention keeps every position; reading 128K of
//! them takes minutes, so it is optional.

use std::time::{Duration, Instant};

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::awake;
use darkhorse_backends::select::Selected as B;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::model::cache::{CacheConfig, Extension, Past};
use darkhorse_genesis::model::mixer::{Mixer, MixerCache, MixerKind, TokenMixer};
use darkhorse_genesis::model::rope::Rope;
use darkhorse_genesis::model::{CausalLm, Context, ModelConfig, Phase};

/// Number of positions read at a time.
const PIECE: usize = 512;
/// Number of tokens measured one by one.
const TOKENS: usize = 200;

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

fn noise(len: usize, width: usize) -> Tensor<B, 3> {
    let values = (0..len * width).map(|at| ((at * 7919 + 13) % 1009) as f32 / 504.0 - 1.0);
    let values = TensorData::new(values.collect::<Vec<_>>(), [1, len, width]);
    Tensor::from_data(values, &Default::default())
}

/// Reads positions up to `len`.
fn read(config: &ModelConfig, mixer: &Mixer<B>, past: &mut MixerCache<B>, len: usize) {
    while past.len() < len {
        let start = past.len();
        let new = PIECE.min(len - start);
        let hidden = noise(new, config.hidden_size);
        let context = context(config, start, new);
        mixer.extend(hidden, &context, &mut [Extension::new(past, new)]);
    }
}

/// Median time per token.
fn token(config: &ModelConfig, mixer: &Mixer<B>, past: &mut MixerCache<B>) -> Duration {
    let hidden = noise(1, config.hidden_size);
    let mut times: Vec<Duration> = (0..TOKENS)
        .map(|_| {
            let context = context(config, past.len(), 1);
            let begin = Instant::now();
            mixer.extend(hidden.clone(), &context, &mut [Extension::new(past, 1)]);
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[TOKENS / 2]
}

fn main() {
    let is_long = std::env::args().any(|it| it == "--forgetting-128k");
    let preset = Experiment::preset("genesis-152m").expect("there is such a preset");
    let config = preset.model;
    let model = CausalLm::<B>::init(&config, 0, &Default::default());
    let kinds = [(MixerKind::Gla, "linear"), (MixerKind::Fox, "forgetting")];
    println!("| layer | context | a token | kept |\n|---|---:|---:|---:|");
    for (kind, name) in kinds {
        let mut layers = config.plan().into_iter().zip(&model.layers);
        let found = layers.find(|(plan, _)| plan.mixer == kind);
        let (_, layer) = found.expect("the model has such a layer");
        let mut past = layer.mixer.empty_cache(&CacheConfig::default());
        for len in [2 << 10, 16 << 10, 128 << 10] {
            if kind == MixerKind::Fox && len > 16 << 10 && !is_long {
                continue;
            }
            read(&config, &layer.mixer, &mut past, len);
            let time = awake(|| token(&config, &layer.mixer, &mut past));
            let kept = past.memory_bytes() as f64 / 1024.0;
            println!(
                "| {name} | {len} | {:.0} µs | {kept:.0} KiB |",
                time.as_secs_f64() * 1e6
            );
        }
    }
}
