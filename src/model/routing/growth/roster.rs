//! What every expert of a layer is: in use or not, whose descendant, and which side of its sibling it keeps to.

/// Rows of the tensor that holds a roster.
pub(super) const FIELDS: usize = 7;
/// 1 for a slot in use, else 0.
pub(super) const IN_USE: usize = 0;
/// The first slot of its line.
pub(super) const FOUNDER: usize = 1;
/// 1: open above the plane, -1: open below it, 0: open everywhere.
pub(super) const SIDE: usize = 2;
/// The slot whose column holds its plane.
pub(super) const ELDER: usize = 3;
/// Offset of the plane in its column.
pub(super) const OFFSET: usize = 4;
/// 0: closed to the other side, 1: open to it.
pub(super) const OPENNESS: usize = 5;
/// The step after which it divided last; exact up to 2^24.
const SINCE: usize = 6;

/// The experts of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster {
    places: Vec<Place>,
}

/// One place for an expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Whether there is an expert.
    pub in_use: bool,
    /// The place of the first expert of its line, whose domain it has.
    pub founder: usize,
    /// How it keeps away from its sibling's tokens; none: it takes any.
    pub sided: Option<Sided>,
    /// Offset of the plane whose normal is in this place's column.
    offset: f32,
}

/// How an expert keeps away from its sibling's tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sided {
    /// Its own tokens.
    pub side: Side,
    /// The place that holds the plane: that of the parent.
    pub elder: usize,
    /// How open it is to tokens of the other side: 0 not at all, 1 as to its own.
    pub openness: f32,
    /// The step after which they became two.
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

/// An expert that becomes two.
#[derive(Debug, Clone, PartialEq)]
pub struct Division {
    /// The expert that divides; it keeps the tokens above the plane.
    pub parent: usize,
    /// The place of its copy, which gets the tokens below.
    pub child: usize,
    /// Normal `v` of the plane, `[hidden_size]`.
    pub normal: Vec<f32>,
    /// Offset `m` of the plane.
    pub offset: f32,
}

/// How long siblings keep out of each other's way, in optimizer steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inhibition {
    /// Closed to each other's tokens.
    pub hold: u64,
    /// With a penalty that falls to nothing.
    pub fade: u64,
}

impl Inhibition {
    /// How open siblings that parted after step `since` are to each other's tokens in the pass of `step`.
    fn openness(self, since: u64, step: u64) -> f32 {
        let past = (step.saturating_sub(since)).saturating_sub(self.hold);
        (past as f64 / (self.fade + 1) as f64).min(1.0) as f32
    }

    /// Steps from a division until siblings are experts like any other.
    pub fn steps(self) -> u64 {
        self.hold + self.fade
    }
}

impl Roster {
    /// A layer of which the first `initial` of `experts` places are in use.
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

    /// Reads what [`values`](Self::values) wrote.
    ///
    /// # Panics
    ///
    /// If `values` is not `[FIELDS, slots]` with `experts` slots at least.
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

    /// A row per field, a column per slot: those after the experts are null experts.
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

    /// Every place, used or not.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Experts in use.
    pub fn in_use(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(|&expert| self.places[expert].in_use)
    }

    /// Places without an expert.
    pub fn free(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(|&expert| !self.places[expert].in_use)
    }

    /// Whether an expert may divide or go: it is in use, and keeps away from no sibling.
    pub fn is_settled(&self, expert: usize) -> bool {
        let place = &self.places[expert];
        place.in_use && place.sided.is_none()
    }

    /// Whether siblings keep out of each other's way.
    pub fn is_inhibited(&self) -> bool {
        self.places.iter().any(|place| place.sided.is_some())
    }

    /// For every place the founder of its expert's line; none where there is no expert.
    pub fn founders(&self) -> Vec<Option<usize>> {
        let founder = |place: &Place| place.in_use.then_some(place.founder);
        self.places.iter().map(founder).collect()
    }

    /// Takes an expert out of use.
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

    /// Opens siblings to each other as far as the pass of `step` is to find them.
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
