//! Assignment of tokens to experts, by a counting sort.

use std::ops::Range;

/// Assignments sorted by expert, and by token within an expert.
///
/// A *slot* is the index of a choice among the flattened choices `[tokens * k]`. A choice of an expert is an
/// *assignment*; its *position* is its index after the sort. A choice of no expert has no position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Slot at every position.
    slots: Vec<usize>,
    starts: Vec<usize>,
    choices: usize,
    k: usize,
}

impl Dispatch {
    /// Sorts the choices, `[tokens * k]`. A choice at or above `experts` names no expert.
    pub fn new(chosen: &[usize], experts: usize, k: usize) -> Self {
        let assigned = || {
            let choices = chosen.iter().copied().enumerate();
            choices.filter(|(_, expert)| *expert < experts)
        };
        let mut starts = vec![0; experts + 1];
        for (_, expert) in assigned() {
            starts[expert + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        let mut next = starts.clone();
        let mut slots = vec![0; starts[experts]];
        for (slot, expert) in assigned() {
            slots[next[expert]] = slot;
            next[expert] += 1;
        }
        let choices = chosen.len();
        Self {
            slots,
            starts,
            choices,
            k,
        }
    }

    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of assignments.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no assignments.
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

    /// Position of every slot; `None` for a choice of no expert.
    pub fn position_of_slots(&self) -> Vec<Option<usize>> {
        let mut positions = vec![None; self.choices];
        for (position, slot) in self.slots.iter().enumerate() {
            positions[*slot] = Some(position);
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
        assert_eq!(
            dispatch.position_of_slots(),
            [3, 0, 1, 5, 4, 2].map(Some),
            "every choice is an expert"
        );
    }

    #[test]
    fn a_choice_of_no_expert_is_no_assignment() {
        let dispatch = Dispatch::new(&[2, 3, 0, usize::MAX, 3, 4, 2, 0], 3, 2);
        assert_eq!(dispatch.len(), 4);
        assert_eq!(dispatch.slots(0), [2, 7]);
        assert!(dispatch.slots(1).is_empty());
        assert_eq!(dispatch.slots(2), [0, 6]);
        assert_eq!(dispatch.tokens(2).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(
            dispatch.position_of_slots(),
            [Some(2), None, Some(0), None, None, None, Some(3), Some(1)]
        );
        let nobody = Dispatch::new(&[3; 6], 3, 2);
        assert!(nobody.is_empty());
        assert_eq!(nobody.position_of_slots(), [None; 6]);
    }
}
