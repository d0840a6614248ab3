//! Medians and percentiles.

use std::time::Duration;

/// The value below which a share of the sorted values lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "there are no values");
    values.sort_by(f64::total_cmp);
    let place = (values.len() - 1) as f64 * share;
    values[place.round() as usize]
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
