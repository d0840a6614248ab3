//! Saturating arithmetic of sizes: an absurd configuration gives an absurd number instead of an overflow.

/// Saturating product.
pub(super) fn product<const N: usize>(factors: [usize; N]) -> u64 {
    factors
        .into_iter()
        .fold(1, |product, factor| product.saturating_mul(factor as u64))
}

/// Saturating sum.
pub(super) fn sum(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}
