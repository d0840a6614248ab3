//! Tokens for which rounding changes the choice of experts.

use std::io::Write;

use super::Golden;

/// First token of each sequence whose experts differ from the fixture's. It and all later tokens have other values
/// from there on.
pub(crate) struct Flips {
    first: Vec<usize>,
    seq: usize,
    count: usize,
}

impl Flips {
    /// No flips, in sequences of shape `[batch, seq]`.
    pub(crate) fn none([batch, seq]: [usize; 2]) -> Self {
        Self {
            first: vec![seq; batch],
            seq,
            count: 0,
        }
    }

    /// Compares the choices of one layer, `k` per token, before the first flip of each sequence.
    ///
    /// # Panics
    ///
    /// If a choice differs although the fixture's margin is wider than the tolerance.
    pub(crate) fn note(&mut self, golden: &Golden, layer: usize, found: &[i64], k: usize) {
        let name = format!("router.{layer}.topk_idx");
        let (expected, _) = golden.integers(&name);
        assert_eq!(
            found.len(),
            expected.len(),
            "{}: length of {name}",
            golden.name
        );
        for (token, (found, expected)) in found.chunks(k).zip(expected.chunks(k)).enumerate() {
            let (row, at) = (token / self.seq, token % self.seq);
            if found == expected || at >= self.first[row] {
                continue;
            }
            assert!(
                golden.may_flip(),
                "{}: {name} of token {token} is {found:?}, expected {expected:?}",
                golden.name
            );
            self.first[row] = at;
            self.count += 1;
        }
    }

    /// Values of the tokens before each sequence's first flip.
    pub(crate) fn before(&self, values: &[f32]) -> Vec<f32> {
        let tokens = self.first.len() * self.seq;
        let width = values.len() / tokens;
        let rows = values.chunks(self.seq * width).zip(&self.first);
        rows.flat_map(|(row, &first)| row[..first * width].to_vec())
            .collect()
    }

    /// Prints the number of flips, bypassing the capture of test output, and returns whether there are none.
    pub(crate) fn report(&self, golden: &Golden) -> bool {
        if golden.may_flip() {
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} flips in {} tokens, its margin {} being within the tolerance {}",
                golden.name,
                self.count,
                self.first.len() * self.seq,
                golden.selection_margin,
                golden.tolerances.gate
            );
        }
        self.count == 0
    }
}
