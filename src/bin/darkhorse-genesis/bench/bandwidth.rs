//! How fast the device's memory can be read.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::Tensor;
use darkhorse_backends::select::{self, Device, Selected};
use rayon::prelude::*;

/// Far more than any cache holds.
const NUMBERS: usize = 64 << 20;
const RUNS: usize = 5;

/// Bytes per second of reading, the best of a few runs: all threads of the processor, or a sum on any other device.
pub(super) fn of_device(device: &Device) -> f64 {
    match select::name() {
        "flex" => of_host(),
        _ => of_sum(device),
    }
}

fn of_host() -> f64 {
    let numbers = vec![1u64; NUMBERS / 2];
    let part = numbers.len().div_ceil(rayon::current_num_threads());
    best(|| {
        let sum: u64 = numbers
            .par_chunks(part)
            .map(|part| part.iter().fold(0, |sum: u64, &n| sum.wrapping_add(n)))
            .sum();
        black_box(sum);
    })
}

fn of_sum(device: &Device) -> f64 {
    let numbers = Tensor::<Selected, 1>::ones([NUMBERS], device);
    best(|| {
        black_box(numbers.clone().sum().into_data());
    })
}

fn best(read: impl Fn()) -> f64 {
    let rate = |_| {
        let begin = Instant::now();
        read();
        (4 * NUMBERS) as f64 / begin.elapsed().as_secs_f64()
    };
    (0..RUNS).map(rate).fold(0.0, f64::max)
}
