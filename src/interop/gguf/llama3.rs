//! The rotary scaling of Llama 3.1, whose factors GGUF stores as a tensor.
//!
//! Formula: `_compute_llama3_parameters` in
//! <https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py>.

use std::f64::consts::TAU;

use crate::model::rope::Llama3;

/// The divisor of each of the `head_dim / 2` rotary frequencies.
///
/// For a frequency of wavelength `w = 2π θ^{2i/d}`: 1 if `w < L/high`, `factor` if `w > L/low`, and otherwise `1 /
/// ((1-s)/factor + s)`, where `s = (L/w - low) / (high - low)`. The computation is in f32 and multiplies by
/// reciprocals, to match the bits of llama.cpp's converter.
pub(super) fn factors(scaling: &Llama3, theta: f64, head_dim: usize) -> Vec<f32> {
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    let (factor, length) = (
        scaling.factor,
        scaling.original_max_position_embeddings as f64,
    );
    (0..head_dim / 2)
        .map(|index| {
            let exponent = (2 * index) as f32 / head_dim as f32;
            let frequency = 1.0 / theta.powf(exponent.into()) as f32;
            let wavelength = (1.0 / frequency) * TAU as f32;
            if wavelength < (length / high) as f32 {
                1.0
            } else if wavelength > (length / low) as f32 {
                factor as f32
            } else {
                let turns = (1.0 / wavelength) * length as f32;
                let smooth = (turns - low as f32) / (high - low) as f32;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        })
        .collect()
}

/// The scaling with these factors; `None` if no common one has them.
///
/// GGUF stores only the factors, which do not change if all three lengths are scaled together. So `low_freq_factor`
/// is fixed to 1, the value of all published models, and the length and `high_freq_factor` (4 in published models)
/// are searched among powers of two.
pub(super) fn from_factors(found: &[f32], theta: f64, head_dim: usize) -> Option<Llama3> {
    if found.len() != head_dim / 2 {
        return None;
    }
    let factor = found.iter().copied().fold(1.0, f32::max).into();
    let equal = |a: f32, b: f32| (a - b).abs() <= 1e-5 * a.abs();
    [4.0, 8.0, 2.0, 16.0]
        .into_iter()
        .flat_map(|high_freq_factor| {
            (1..=24).map(move |power| Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor,
                original_max_position_embeddings: 1 << power,
            })
        })
        .find(|scaling| {
            let factors = factors(scaling, theta, head_dim);
            factors.iter().zip(found).all(|(&a, &b)| equal(a, b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Bits of the converter's torch 2.15, where they differ between ways of writing the formula.
    #[test]
    fn llama3_factors_have_the_converters_bits() {
        let scaling = llama3(7777);
        let bits: Vec<u32> = factors(&scaling, 5e5, 256)[56..70]
            .iter()
            .map(|x| x.to_bits())
            .collect();
        assert_eq!(bits, BITS);
    }

    const BITS: [u32; 14] = [
        0x3f80_f111,
        0x3f91_7fc9,
        0x3fa4_92a9,
        0x3fba_a873,
        0x3fd4_61b8,
        0x3ff2_8d1c,
        0x400b_1c7e,
        0x4020_671b,
        0x403a_1cc3,
        0x4059_96f5,
        0x4080_64f8,
        0x4099_5318,
        0x40b9_e77c,
        0x40e6_0496,
    ];

    #[test]
    fn llama3_scaling_is_found_from_its_factors() {
        let scaling = llama3(8192);
        let found = factors(&scaling, 5e5, 128);
        assert_eq!((found[28], found[35]), (1.0, 8.0));
        assert_eq!(from_factors(&found, 5e5, 128), Some(scaling));
        assert_eq!(from_factors(&found[..63], 5e5, 128), None);
        let unusual = Llama3 {
            low_freq_factor: 2.0,
            high_freq_factor: 16.0,
            ..llama3(64)
        };
        let unusual = factors(&unusual, 1e4, 16);
        let found = from_factors(&unusual, 1e4, 16).unwrap();
        assert_eq!(factors(&found, 1e4, 16), unusual);
        assert_eq!(from_factors(&[1.0, 3.0, 2.0], 5e5, 6), None);
    }

    fn llama3(length: usize) -> Llama3 {
        Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: length,
        }
    }
}
