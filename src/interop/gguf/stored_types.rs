//! Summary of a file's element types, for the user.

use std::collections::BTreeMap;
use std::fmt;

use super::blocks::GgmlType;

/// Number of tensors of each element type in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTypes {
    counts: Vec<(GgmlType, usize)>,
}

impl StoredTypes {
    pub(super) fn new(counts: BTreeMap<GgmlType, usize>) -> Self {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        Self { counts }
    }

    /// Whether any tensor is quantized, so that its values must be decoded.
    pub fn are_quantized(&self) -> bool {
        self.counts.iter().any(|(kind, _)| kind.is_quantized())
    }
}

/// Displayed as `Q4_1 (210 tensors), F32 (61), Q8_0 (1)`.
impl fmt::Display for StoredTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, count)) in self.counts.iter().enumerate() {
            match (index, count) {
                (0, 1) => write!(f, "{kind} (1 tensor)")?,
                (0, _) => write!(f, "{kind} ({count} tensors)")?,
                _ => write!(f, ", {kind} ({count})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_come_first() {
        let of = |counts: &[(GgmlType, usize)]| StoredTypes::new(counts.iter().copied().collect());
        let mixed = of(&[
            (GgmlType::F32, 61),
            (GgmlType::Q4_1, 210),
            (GgmlType::Q8_0, 1),
        ]);
        assert_eq!(mixed.to_string(), "Q4_1 (210 tensors), F32 (61), Q8_0 (1)");
        assert!(mixed.are_quantized());
        let plain = of(&[(GgmlType::Bf16, 1)]);
        assert_eq!(plain.to_string(), "BF16 (1 tensor)");
        assert!(!plain.are_quantized());
    }
}
