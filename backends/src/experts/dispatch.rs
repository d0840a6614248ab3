//! Which expert gets which token: a counting sort of the assignments.

use std::ops::Range;

/// Assignments sorted by expert, in token order within an expert.
///
/// An assignment has a slot, its place in the flattened `[tokens * k]` choice, and a position, its
/// place after the sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    slots: Vec<usize>,
    starts: Vec<usize>,
    k: usize,
}

impl Dispatch {
    /// Sorts the chosen experts, `[tokens * k]`.
    ///
    /// # Panics
    ///
    /// When a choice is not below `experts`.
    pub fn new(chosen: &[usize], experts: usize, k: usize) -> Self {
        let mut starts = vec![0; experts + 1];
        for expert in chosen {
            starts[expert + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        let mut next = starts.clone();
        let mut slots = vec![0; chosen.len()];
        for (slot, expert) in chosen.iter().enumerate() {
            slots[next[*expert]] = slot;
            next[*expert] += 1;
        }
        Self { slots, starts, k }
    }

    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of assignments.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without any assignment.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Positions of an expert's assignments.
    pub fn positions(&self, expert: usize) -> Range<usize> {
        self.starts[expert]..self.starts[expert + 1]
    }

    /// Slots of an expert's assignments.
    pub fn slots(&self, expert: usize) -> &[usize] {
        &self.slots[self.positions(expert)]
    }

    /// Tokens of an expert's assignments.
    pub fn tokens(&self, expert: usize) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.slots(expert).iter().map(|slot| slot / self.k)
    }

    /// Position of every slot.
    pub fn position_of_slots(&self) -> Vec<usize> {
        let mut positions = vec![0; self.slots.len()];
        for (position, slot) in self.slots.iter().enumerate() {
            positions[*slot] = position;
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::Dispatch;

    #[test]
    fn assignments_are_sorted_by_expert_and_then_by_token() {
        let dispatch = Dispatch::new(&[2, 0, 0, 3, 2, 0], 4, 2);
        assert_eq!(dispatch.slots(0), [1, 2, 5]);
        assert!(dispatch.slots(1).is_empty());
        assert_eq!(dispatch.slots(2), [0, 4]);
        assert_eq!(dispatch.tokens(0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(dispatch.position_of_slots(), [3, 0, 1, 5, 4, 2]);
    }
}
