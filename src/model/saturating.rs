//! Arithmetic of sizes that stops at the largest number: an absurd configuration is answered with an absurd number.

/// The product, or the largest number there is.
pub(super) fn product<const N: usize>(factors: [usize; N]) -> u64 {
    factors
        .into_iter()
        .fold(1, |product, factor| product.saturating_mul(factor as u64))
}

/// The sum, or the largest number there is.
pub(super) fn sum(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}
