//! Measurement of the host's memory bandwidth.

use rayon::prelude::*;

use crate::flex::simd::{kernel, sum};

/// Sum of all numbers, on all threads. For data larger than the caches, it is limited by memory bandwidth.
pub fn sum_of(numbers: &[f32]) -> f32 {
    let part = numbers.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<f32> = numbers.par_chunks(part).map(sum_of_part).collect();
    parts.into_iter().sum()
}

kernel! {
    fn sum_of_part<'a>(numbers: &'a [f32]) -> f32 {
        sum(numbers, |number| number)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_number_counts_once() {
        let numbers: Vec<f32> = (0..1001).map(|i| i as f32).collect();
        assert_eq!(super::sum_of(&numbers), 500_500.0);
        assert_eq!(super::sum_of(&[]), 0.0);
    }
}
