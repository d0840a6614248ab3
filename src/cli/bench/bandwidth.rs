//! Measurement of the memory's read bandwidth.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::Tensor;
use darkhorse_backends::select::{Device, Selected};

/// Number of f32 values to read, far more than any cache holds.
const NUMBERS: usize = 64 << 20;
const RUNS: usize = 5;

/// Read bandwidth in bytes per second, the best of several runs: by all threads of the processor, or by a sum on
/// another device.
pub(super) fn of_device(device: &Device) -> f64 {
    #[cfg(feature = "flex")]
    if darkhorse_backends::select::name() == "flex" {
        let numbers = vec![1.0; NUMBERS];
        return best(|| {
            black_box(darkhorse_backends::bandwidth::sum_of(&numbers));
        });
    }
    of_sum(device)
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
