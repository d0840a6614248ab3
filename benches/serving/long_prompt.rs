//! Peak memory of a prompt that fills the context, besides weights and cache.

use std::ops::ControlFlow;
use std::time::Instant;

use darkhorse_backends::awake;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::inference::{Generation, Limits};
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::dtype::Dtype;

use crate::Outcome;
use crate::memory::{forget_peak, mib, peak};

/// Limit of the memory that a prompt takes besides weights and cache, in bytes.
const ALLOWED: u64 = 512 << 20;

/// Measures the `tiny` preset with this number of positions and random weights.
pub(crate) fn peak_memory(tokens: usize) -> Outcome {
    let mut config = Experiment::preset("tiny")?.model;
    config.max_position_embeddings = tokens;
    let model = CausalLm::<Selected>::init(&config, 0, &Default::default());
    let ids: Vec<u32> = (0..tokens as u64)
        .map(|i| (2 + (7919 * i + 13) % (config.vocab_size as u64 - 2)) as u32)
        .collect();
    let mut generation = Generation::new(&model, Limits::of(&config), None);
    forget_peak()?;
    let begin = Instant::now();
    let mut told = 0;
    // `read_with` reads to the end, since the callback never stops it
    let _ = awake(|| {
        generation.read_with(&ids, |read| {
            if read / 8192 > told {
                told = read / 8192;
                eprintln!("{read:>7} tokens, {:>6.1} s", begin.elapsed().as_secs_f64());
            }
            ControlFlow::Continue(())
        })
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let (most, weights) = (peak()?, config.weight_bytes(Dtype::F32));
    let cache = generation.cache_bytes() as u64;
    let pairs = tokens as f64 * (tokens as f64 + 1.0) / 2.0;
    let flops = config.flops_per_token(tokens) as f64 * tokens as f64;
    println!(
        "{tokens} tokens in {seconds:.1} s ({:.0} tokens/s): {:.2e} pairs a head and layer, {:.1} GFLOP/s of {:.2e} FLOP",
        tokens as f64 / seconds,
        pairs,
        flops / seconds / 1e9,
        flops
    );
    println!(
        "peak {:.1} MiB: weights {:.1}, cache {:.1}, beside them {:.1} MiB (allowed {:.0})",
        mib(most),
        mib(weights),
        mib(cache),
        mib(most.saturating_sub(weights + cache)),
        mib(ALLOWED)
    );
    if most <= weights + cache + ALLOWED {
        Ok(())
    } else {
        Err("more memory than allowed".into())
    }
}
