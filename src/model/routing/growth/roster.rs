//! State of every expert of a layer: whether it is in use, its founder, and its side of the plane to its sibling.

/// Number of rows of the tensor that stores a roster.
pub(super) const FIELDS: usize = 7;
/// 1 for a slot in use, else 0.
pub(super) const IN_USE: usize = 0;
/// Slot of the founder of the expert's line.
pub(super) const FOUNDER: usize = 1;
/// 1: chosen above the plane, -1: chosen below it, 0: chosen everywhere.
pub(super) const SIDE: usize = 2;
/// Slot whose column stores the plane.
pub(super) const ELDER: usize = 3;
/// Offset of the plane stored in this column.
pub(super) const OFFSET: usize = 4;
/// Openness to the other side of the plane: 0: closed, 1: open.
pub(super) const OPENNESS: usize = 5;
/// Step after which the expert last divided; exact up to 2^24.
const SINCE: usize = 6;

/// The experts of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster {
    places: Vec<Place>,
}

/// A place for one expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Whether the place has an expert.
    pub in_use: bool,
    /// Place of the founder of the expert's line, which defines its domain.
    pub founder: usize,
    /// Inhibition by a sibling; `None`: the expert accepts every token.
    pub sided: Option<Sided>,
    /// Offset of the plane whose normal is stored in this place's column.
    offset: f32,
}

/// Inhibition of an expert for its sibling's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sided {
    /// Side of the expert's own tokens.
    pub side: Side,
    /// Place that stores the plane: the parent's.
    pub elder: usize,
    /// Openness to tokens of the other side: 0: closed, 1: fully open.
    pub openness: f32,
    /// Step after which the two divided.
    pub since: u64,
}

/// A side of a plane `v x = m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `v x >= m`.
    Above,
    /// `v x < m`.
    Below,
}

/// Division of an expert into two.
#[derive(Debug, Clone, PartialEq)]
pub struct Division {
    /// The dividing expert, which keeps the tokens above the plane.
    pub parent: usize,
    /// Place of its copy, which gets the tokens below the plane.
    pub child: usize,
    /// Normal `v` of the plane, `[hidden_size]`.
    pub normal: Vec<f32>,
    /// Offset `m` of the plane.
    pub offset: f32,
}

/// Duration of sibling inhibition, in optimizer steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inhibition {
    /// Steps during which siblings are closed to each other's tokens.
    pub hold: u64,
    /// Steps during which a penalty falls to zero.
    pub fade: u64,
}

impl Inhibition {
    /// Openness, at `step`, of siblings that divided after step `since`.
    fn openness(self, since: u64, step: u64) -> f32 {
        let past = (step.saturating_sub(since)).saturating_sub(self.hold);
        (past as f64 / (self.fade + 1) as f64).min(1.0) as f32
    }

    /// Number of steps from a division until both siblings are ordinary experts.
    pub fn steps(self) -> u64 {
        self.hold + self.fade
    }
}

impl Roster {
    /// A layer whose first `initial` of `experts` places are in use.
    pub(crate) fn new(experts: usize, initial: usize) -> Self {
        let place = |founder| Place {
            in_use: founder < initial,
            founder,
            sided: None,
            offset: 0.0,
        };
        Self {
            places: (0..experts).map(place).collect(),
        }
    }

    /// Reads the output of [`values`](Self::values).
    ///
    /// # Panics
    ///
    /// If `values` is not `[FIELDS, slots]` with at least `experts` slots.
    pub(crate) fn from_values(values: &[f32], experts: usize) -> Self {
        let slots = values.len() / FIELDS;
        assert!(values.len().is_multiple_of(FIELDS) && slots >= experts);
        let place = |slot: usize| {
            let field = |field: usize| values[field * slots + slot];
            let side = match field(SIDE) {
                side if side > 0.0 => Some(Side::Above),
                side if side < 0.0 => Some(Side::Below),
                _ => None,
            };
            Place {
                in_use: field(IN_USE) > 0.0,
                founder: field(FOUNDER) as usize,
                sided: side.map(|side| Sided {
                    side,
                    elder: field(ELDER) as usize,
                    openness: field(OPENNESS),
                    since: field(SINCE) as u64,
                }),
                offset: field(OFFSET),
            }
        };
        Self {
            places: (0..experts).map(place).collect(),
        }
    }

    /// The stored form: one row per field, one column per slot, null experts last.
    pub(super) fn values(&self, slots: usize) -> Vec<f32> {
        let mut values = vec![0.0; FIELDS * slots];
        for slot in 0..slots {
            let place = self.places.get(slot).copied().unwrap_or(Place {
                in_use: true,
                founder: slot,
                sided: None,
                offset: 0.0,
            });
            let sided = place.sided;
            let side = sided.map_or(0.0, |sided| match sided.side {
                Side::Above => 1.0,
                Side::Below => -1.0,
            });
            let fields = [
                f32::from(place.in_use),
                place.founder as f32,
                side,
                sided.map_or(slot, |sided| sided.elder) as f32,
                place.offset,
                sided.map_or(1.0, |sided| sided.openness),
                sided.map_or(0, |sided| sided.since) as f32,
            ];
            for (field, value) in fields.into_iter().enumerate() {
                values[field * slots + slot] = value;
            }
        }
        values
    }

    /// All places, in use or free.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Indices of the experts in use.
    pub fn in_use(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(|&expert| self.places[expert].in_use)
    }

    /// Indices of the free places.
    pub fn free(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(|&expert| !self.places[expert].in_use)
    }

    /// Whether an expert may divide or retire: it is in use and has no inhibition.
    pub fn is_settled(&self, expert: usize) -> bool {
        let place = &self.places[expert];
        place.in_use && place.sided.is_none()
    }

    /// Whether any siblings inhibit each other.
    pub fn is_inhibited(&self) -> bool {
        self.places.iter().any(|place| place.sided.is_some())
    }

    /// Founder of the expert in every place; `None` for a free place.
    pub fn founders(&self) -> Vec<Option<usize>> {
        let founder = |place: &Place| place.in_use.then_some(place.founder);
        self.places.iter().map(founder).collect()
    }

    /// Frees the place of an expert.
    ///
    /// # Panics
    ///
    /// If it is not [settled](Self::is_settled).
    pub(crate) fn retire(&mut self, expert: usize) {
        assert!(self.is_settled(expert), "expert {expert} is settled");
        self.places[expert].in_use = false;
    }

    /// Divides an expert after `step`.
    ///
    /// # Panics
    ///
    /// If the parent is not [settled](Self::is_settled), or the child's place is not free.
    pub(crate) fn divide(&mut self, division: &Division, step: u64) {
        let &Division { parent, child, .. } = division;
        assert!(self.is_settled(parent), "expert {parent} is settled");
        assert!(!self.places[child].in_use, "place {child} is free");
        let sided = |side| {
            Some(Sided {
                side,
                elder: parent,
                openness: 0.0,
                since: step,
            })
        };
        self.places[parent].offset = division.offset;
        self.places[parent].sided = sided(Side::Above);
        self.places[child] = Place {
            in_use: true,
            founder: self.places[parent].founder,
            sided: sided(Side::Below),
            offset: 0.0,
        };
    }

    /// Sets the openness of all siblings for the pass of `step`, and ends their inhibition when it reaches 1.
    pub(crate) fn open(&mut self, step: u64, inhibition: Inhibition) {
        for place in &mut self.places {
            place.sided = place.sided.and_then(|sided| {
                let openness = inhibition.openness(sided.since, step);
                (openness < 1.0).then_some(Sided { openness, ..sided })
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided() -> Roster {
        let mut roster = Roster::new(6, 3);
        roster.divide(
            &Division {
                parent: 1,
                child: 4,
                normal: vec![1.0, 0.0],
                offset: 0.25,
            },
            10,
        );
        roster
    }

    #[test]
    fn a_roster_survives_its_tensor() {
        let roster = divided();
        let values = roster.values(8);
        assert_eq!(Roster::from_values(&values, 6), roster);
        assert_eq!(values[6..8], [1.0; 2], "null experts are in use");
    }

    #[test]
    fn a_child_is_of_its_parents_line_and_takes_a_place() {
        let roster = divided();
        assert_eq!(roster.in_use().collect::<Vec<_>>(), [0, 1, 2, 4]);
        assert_eq!(roster.free().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(roster.founders()[4], Some(1));
        assert!(roster.is_settled(0) && !roster.is_settled(1) && !roster.is_settled(4));
    }

    #[test]
    fn siblings_hold_apart_then_open_and_are_experts_like_any_other() {
        let inhibition = Inhibition { hold: 5, fade: 4 };
        let openness = |step| {
            let mut roster = divided();
            roster.open(step, inhibition);
            roster.places()[4].sided.map(|sided| sided.openness)
        };
        assert_eq!(openness(11), Some(0.0));
        assert_eq!(openness(15), Some(0.0));
        let fading = (16..20).map(|step| openness(step).unwrap());
        for (openness, expected) in fading.zip([0.2, 0.4, 0.6, 0.8]) {
            assert!((openness - expected).abs() < 1e-6, "{openness}");
        }
        assert_eq!(openness(20), None);
    }

    #[test]
    #[should_panic(expected = "expert 1 is settled")]
    fn an_expert_does_not_divide_while_it_keeps_away_from_its_sibling() {
        let mut roster = divided();
        let again = Division {
            parent: 1,
            child: 3,
            normal: vec![0.0, 1.0],
            offset: 0.0,
        };
        roster.divide(&again, 11);
    }
}
