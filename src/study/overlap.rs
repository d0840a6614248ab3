//! Overlap of choices: under noise (stability, RSI) and between two checkpoints (saturation).

/// Mean fraction of choices that two routings share, `mean |S(x) ∩ S'(x)| / k` over tokens; `None` without tokens.
///
/// # Shapes
///
/// - left, right: `[tokens, k]`, the chosen slots of each token in any order
///
/// # Panics
///
/// If the two have different lengths.
pub fn overlap(left: &[u16], right: &[u16], k: usize) -> Option<f64> {
    assert_eq!(left.len(), right.len(), "choices of the same tokens");
    if left.is_empty() || k == 0 {
        return None;
    }
    let pairs = left.chunks_exact(k).zip(right.chunks_exact(k));
    let shared = pairs.map(|(left, right)| left.iter().filter(|slot| right.contains(slot)).count());
    Some(shared.sum::<usize>() as f64 / left.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_compared_as_sets() {
        assert_eq!(overlap(&[1, 2, 3, 4], &[2, 1, 3, 9], 2), Some(0.75));
        assert_eq!(overlap(&[1, 2], &[2, 1], 2), Some(1.0));
        assert_eq!(overlap(&[1, 2], &[3, 4], 2), Some(0.0));
        assert_eq!(overlap(&[], &[], 2), None);
    }
}
