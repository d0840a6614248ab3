//! A mean with its confidence interval.

use std::fmt;

use serde::Serialize;

/// Two-sided 95 % quantiles of Student's t distribution for 1 to 30 degrees of freedom. The last one is used for
/// more, which makes the interval slightly too wide.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// Mean and 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    mean: f64,
    /// Half of the interval's width; `None` for a single value.
    ci95: Option<f64>,
    /// Number of values.
    repeats: usize,
}

impl Interval {
    /// Mean and interval of values that are assumed independent and normal; `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let ci95 = (n > 1).then(|| {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let error = (squares / (n - 1) as f64 / n as f64).sqrt();
            T_95[(n - 2).min(T_95.len() - 1)] * error
        });
        Some(Self {
            mean,
            ci95,
            repeats: n,
        })
    }

    /// Number of values.
    pub fn repeats(&self) -> usize {
        self.repeats
    }
}

/// Mean and half-width, as in `0.1234 ± 0.0056`, with the mean to four significant digits.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.mean.abs().log10().floor();
        let decimals = if magnitude.is_finite() {
            (3.0 - magnitude).clamp(0.0, 9.0) as usize
        } else {
            3
        };
        write!(f, "{:.decimals$}", self.mean)?;
        match self.ci95 {
            Some(ci95) => write!(f, " ± {ci95:.decimals$}"),
            None => f.write_str(" (one repeat)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_student_s() {
        // scipy.stats.t.interval(0.95, 4, 3, sqrt(2.5 / 5)) is 3 ± 1.9632
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(interval.mean, 3.0);
        assert!((interval.ci95.unwrap() - 1.9632).abs() < 1e-3);
        assert_eq!(interval.to_string(), "3.000 ± 1.963");
    }

    #[test]
    fn what_was_not_measured_has_no_mean_and_one_value_no_interval() {
        assert_eq!(Interval::of(&[]), None);
        let one = Interval::of(&[0.01234]).unwrap();
        assert_eq!(one.ci95, None);
        assert_eq!(one.to_string(), "0.01234 (one repeat)");
    }
}
