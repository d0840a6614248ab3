//! Loops compiled for several instruction sets, selected at run time, and the functions they share.

/// Number of independent partial sums of a reduction, so that it is vectorized. A fixed number, so that the order of
/// summation is the same on every machine.
const LANES: usize = 32;

/// Defines a function whose body is compiled for several instruction sets; the best one available is called at run
/// time. Functions called by the body must be `#[inline(always)]`.
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block
    ) => {
        $(#[$doc])*
        $vis fn $name<$life>($($arg: $ty),*) $(-> $out)? {
            struct Kernel<$life> {
                $($arg: $ty,)*
            }
            impl<$life> pulp::WithSimd for Kernel<$life> {
                type Output = $crate::flex::simd::kernel!(@out $($out)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Kernel { $($arg),* })
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}
pub(crate) use kernel;

/// `e^x` within two units in the last place; zero below the smallest normal number.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.37;
    // Adding this rounds to an integer in the low bits.
    const ROUND: f32 = 12_582_912.0;

    let bounded = x.clamp(LOWEST, HIGHEST);
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (bounded - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let fraction = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = fraction * power;
    if x < LOWEST { 0.0 } else { value }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of `term(a)`.
#[inline(always)]
pub(crate) fn sum(a: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let blocks = a.chunks_exact(LANES);
    for (lane, a) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane += term(*a);
    }
    for a in blocks {
        for (lane, a) in lanes.iter_mut().zip(a) {
            *lane += term(*a);
        }
    }
    total(lanes)
}

/// Sum of `a * b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rests = a_blocks.remainder().iter().zip(b_blocks.remainder());
    for (lane, (a, b)) in lanes.iter_mut().zip(rests) {
        *lane += a * b;
    }
    for (a, b) in a_blocks.zip(b_blocks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    total(lanes)
}

/// Largest of `values`, ignoring NaN.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    #[inline(always)]
    fn larger(a: f32, b: f32) -> f32 {
        if b > a { b } else { a }
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let blocks = values.chunks_exact(LANES);
    for (lane, value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = larger(*lane, *value);
    }
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().fold(f32::NEG_INFINITY, |a, b| larger(a, *b))
}

/// Sum of the lanes, by pairwise halving.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::{dot, exp, max, sum};

    #[test]
    fn exp_is_close_over_its_whole_range() {
        for step in -8800..8830 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs();
            assert!(
                error <= 2.5e-7 * expected + 2e-38,
                "{x}: {} against {expected}",
                exp(x)
            );
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn reductions_take_every_element() {
        for len in [0, 1, 31, 32, 33, 100] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected = (len * (len.max(1) - 1) / 2) as f32;
            assert_eq!(sum(&values, |x| x), expected);
            assert_eq!(dot(&values, &vec![1.0; len]), expected);
            let largest = values.last().copied().unwrap_or(f32::NEG_INFINITY);
            assert_eq!(max(&values), largest);
        }
    }
}
