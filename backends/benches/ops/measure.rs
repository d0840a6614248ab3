//! Times two implementations of an operation in interleaved runs.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use crate::B;

/// Runs of each implementation.
const RUNS: usize = 11;

/// Work of one run.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Floating-point operations.
    Flop(f64),
    /// Bytes read and written.
    Bytes(f64),
}

impl Work {
    pub(crate) fn times(self, factor: f64) -> Self {
        match self {
            Self::Flop(flop) => Self::Flop(flop * factor),
            Self::Bytes(bytes) => Self::Bytes(bytes * factor),
        }
    }

    pub(crate) fn rate(self, time: Duration) -> String {
        match self {
            Self::Flop(flop) => format!("{:8.1} GFLOP/s", flop / time.as_secs_f64() / 1e9),
            Self::Bytes(bytes) => format!("{:8.1} GB/s   ", bytes / time.as_secs_f64() / 1e9),
        }
    }
}

/// Times both implementations in interleaved runs, and prints a line with the medians.
pub(crate) fn compare(
    case: &str,
    work: Work,
    mut fast: impl FnMut(),
    mut definition: impl FnMut(),
) {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    if filter.is_some_and(|filter| !case.contains(&filter)) {
        return;
    }
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    fast();
    definition();
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..RUNS {
        times[0].push(time(&mut fast));
        times[1].push(time(&mut definition));
    }
    let [fast, definition] = times.map(|mut times| {
        times.sort();
        times[RUNS / 2]
    });
    println!(
        "{case:<58} {:>9.3} ms {} {:>9.3} ms {} {:>6.2}x",
        fast.as_secs_f64() * 1e3,
        work.rate(fast),
        definition.as_secs_f64() * 1e3,
        work.rate(definition),
        definition.as_secs_f64() / fast.as_secs_f64(),
    );
}

/// Compares an operation without gradients, and with the gradients of all `leaves`.
pub(crate) fn differentiable<const D: usize, const E: usize>(
    case: &str,
    work: Work,
    leaves: &[Tensor<B, E>],
    fast: impl Fn(&[Tensor<B, E>]) -> Tensor<B, D>,
    definition: impl Fn(&[Tensor<B, E>]) -> Tensor<B, D>,
) {
    let plain: Vec<_> = leaves.iter().map(|leaf| leaf.clone().detach()).collect();
    compare(
        case,
        work,
        || drop(fast(&plain)),
        || drop(definition(&plain)),
    );
    let tracked: Vec<_> = plain.into_iter().map(Tensor::require_grad).collect();
    compare(
        &format!("{case} + gradients"),
        work.times(3.0),
        || drop(fast(&tracked).backward()),
        || drop(definition(&tracked).backward()),
    );
}
