//! Experts that grow in number: an expert divides into two without changing what the model computes.
//!
//! The experts of a layer have more places than are in use (`n_routed_experts` places, `initial_experts` of them in use
//! at first), so that shapes never change. An expert divides into itself and a copy of its weights, its centroid and its
//! bias in a free place. Two equal experts would both be chosen and expel a third; so the tokens are divided by a plane
//! `v x = m` through the tokens of the parent, and at first each of the siblings is closed to the tokens on the other
//! side (*sibling inhibition*): of every token's candidates exactly one of the two is left, with the parent's score and
//! weights, and the output is what it was, for every number of chosen experts. Later the closed side becomes a penalty
//! that falls from 1, the whole range of an affinity, to 0. Then both are experts like any other.

mod roster;

pub use roster::{Division, Inhibition, Place, Roster, Side, Sided};

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use crate::model::feed_forward::moe::MoeConfig;
use crate::model::init::Initializers;
use roster::{ELDER, FIELDS, FOUNDER, IN_USE, OFFSET, OPENNESS, SIDE};

/// The places of a router's experts. Moved by training's mitosis, not by gradients.
#[derive(Module, Debug)]
pub struct Growth<B: Backend> {
    /// What every slot is, `[fields, slots]`; read as a [`Roster`].
    pub places: Param<Tensor<B, 2>>,
    /// Normal of the plane between an expert and its youngest sibling, in the column of the elder, `[hidden_size, slots]`.
    pub planes: Param<Tensor<B, 2>>,
    experts: usize,
}

/// What happens to the experts of a layer after an optimizer step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The step.
    pub step: u64,
    /// Experts that are no longer in use. Their places are free for the divisions.
    pub retired: Vec<usize>,
    /// Experts that divide.
    pub divisions: Vec<Division>,
    /// How long siblings inhibit each other.
    pub inhibition: Inhibition,
}

impl Change {
    /// For each of `slots`, the slot whose weights it has afterwards.
    pub fn sources(&self, slots: usize) -> Vec<usize> {
        let mut sources: Vec<usize> = (0..slots).collect();
        for division in &self.divisions {
            sources[division.child] = division.parent;
        }
        sources
    }

    /// Whether no expert comes or goes.
    pub fn is_empty(&self) -> bool {
        self.retired.is_empty() && self.divisions.is_empty()
    }
}

/// What a pass through a router whose experts grow says beside its choice.
#[derive(Debug, Clone)]
pub struct Growing<B: Backend> {
    /// What every slot is, `[fields, slots]`.
    pub places: Tensor<B, 2>,
    /// While training: what went into the router, `[tokens, hidden_size]`.
    pub hidden: Option<Tensor<B, 2>>,
    /// While training: what the choice would be made by without the bias, `[tokens, slots]`.
    pub unbiased: Option<Tensor<B, 2>>,
}

impl<B: Backend> Growing<B> {
    /// Number of experts in use, `[1]`.
    pub fn in_use(&self, experts: usize) -> Tensor<B, 1> {
        let in_use = self.places.clone().narrow(0, IN_USE, 1);
        in_use.narrow(1, 0, experts).sum()
    }

    /// What every expert is.
    pub fn roster(places: Tensor<B, 2>, experts: usize) -> Roster {
        let values: Vec<f32> = places.into_data().iter::<f32>().collect();
        Roster::from_values(&values, experts)
    }
}

/// Which slots each token may choose.
pub(super) struct Access<B: Backend> {
    /// Out of reach: not in use, or inhibited. `[tokens, slots]`.
    pub(super) closed: Tensor<B, 2, Bool>,
    /// Taken off what the choice is made by, from 0 to below 1, where a slot is within reach. `[tokens, slots]`.
    pub(super) penalty: Tensor<B, 2>,
    /// The slot whose domain each slot has, `[slots]`.
    pub(super) founders: Tensor<B, 1, Int>,
    /// The elder of siblings that keep out of each other's way, else the slot itself, `[slots]`.
    pub(super) elders: Tensor<B, 1, Int>,
    /// 1 where a slot is on its own side of the plane to its sibling, or has none. `[tokens, slots]`.
    pub(super) right_side: Tensor<B, 2>,
}

impl<B: Backend> Growth<B> {
    /// The places of a router of which not all are in use at first; none where all are, and stay.
    pub(super) fn init(
        moe: &MoeConfig,
        init: &Initializers<'_>,
        device: &B::Device,
    ) -> Option<Self> {
        let initial = moe.router.initial_experts?;
        let (experts, slots) = (moe.n_routed_experts, moe.slots());
        let values = Roster::new(experts, initial).values(slots);
        let places = move |device: &B::Device| {
            let values = TensorData::new(values.clone(), [FIELDS, slots]);
            Tensor::from_data(values, device)
        };
        let planes = [init.config().hidden_size, slots];
        let zeros = move |device: &B::Device| Tensor::zeros(planes, device);
        Some(Self {
            places: init
                .valued([FIELDS, slots], places, device)
                .set_require_grad(false),
            planes: init.valued(planes, zeros, device).set_require_grad(false),
            experts,
        })
    }

    /// What every expert is, as the host sees it.
    pub fn roster(&self) -> Roster {
        Growing::roster(self.places.val(), self.experts)
    }

    /// The places after a change.
    pub(super) fn after(mut self, roster: &Roster, divisions: &[Division]) -> Self {
        let device = self.places.device();
        let [hidden, slots] = self.planes.dims();
        let values = TensorData::new(roster.values(slots), [FIELDS, slots]);
        let places = Tensor::from_data(values, &device);
        self.places = self.places.map(|_| places.set_require_grad(false));
        if divisions.is_empty() {
            return self;
        }
        let mut planes: Vec<f32> = self.planes.val().into_data().iter::<f32>().collect();
        for division in divisions {
            for (row, &value) in division.normal.iter().enumerate() {
                planes[row * slots + division.parent] = value;
            }
        }
        let planes = Tensor::from_data(TensorData::new(planes, [hidden, slots]), &device);
        self.planes = self.planes.map(|_| planes.set_require_grad(false));
        self
    }
}

impl<B: Ops> Growth<B> {
    /// Which slots are open to each of the tokens.
    ///
    /// # Shapes
    ///
    /// - hidden: `[tokens, hidden_size]`
    pub(super) fn access(&self, hidden: Tensor<B, 2>) -> Access<B> {
        let places = self.places.val();
        let [_, slots] = places.dims();
        let row = |field| places.clone().narrow(0, field, 1);
        let index = |field| row(field).reshape([slots]).int();

        let height = B::project(hidden.detach(), self.planes.val()) - row(OFFSET);
        // siblings look at one and the same number: exactly one of them is on the wrong side
        let below = height.lower_elem(0.0).float().select(1, index(ELDER));
        let above = below.clone().neg().add_scalar(1.0);
        let side = row(SIDE);
        let wrong = below * side.clone().clamp_min(0.0) + above * side.neg().clamp_min(0.0);
        let right_side = wrong.clone().neg().add_scalar(1.0);
        let penalty = wrong * row(OPENNESS).neg().add_scalar(1.0);
        let idle = row(IN_USE).neg().add_scalar(1.0);
        Access {
            closed: (penalty.clone() + idle).greater_equal_elem(1.0),
            penalty,
            founders: index(FOUNDER),
            elders: index(ELDER),
            right_side,
        }
    }
}

#[cfg(test)]
mod tests;
