//! Growing number of experts: an expert divides into two without changing the model's output.
//!
//! A layer has `n_routed_experts` places, of which `initial_experts` are in use at first, so shapes never change. An
//! expert divides by copying its weights, centroid and bias to a free place. Two equal experts would both be chosen
//! and displace a third, so the tokens are divided by a plane `v x = m` through the parent's tokens. At first, each
//! sibling is closed to the tokens on the other side (*sibling inhibition*): exactly one of the two can be chosen
//! for a token, with the parent's score and weights, so the output is unchanged for every number of chosen experts.
//! Later the closed side becomes a penalty that falls from 1, the whole range of an affinity, to 0. Then both are
//! ordinary experts.

mod roster;

pub use roster::{Division, Inhibition, Place, Roster, Side, Sided};

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use crate::model::feed_forward::moe::MoeConfig;
use crate::model::init::Initializers;
use roster::{ELDER, FIELDS, FOUNDER, IN_USE, OFFSET, OPENNESS, SIDE};

/// Places of a router's experts. Updated by mitosis during training, not by gradients.
#[derive(Module, Debug)]
pub struct Growth<B: Backend> {
    /// State of every slot, `[fields, slots]`; read as a [`Roster`].
    pub places: Param<Tensor<B, 2>>,
    /// Normal of the plane between an expert and its youngest sibling, in the parent's column,
    /// `[hidden_size, slots]`.
    pub planes: Param<Tensor<B, 2>>,
    experts: usize,
}

/// Change of the experts of a layer after an optimizer step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The optimizer step.
    pub step: u64,
    /// Experts to retire, whose places become free for the divisions.
    pub retired: Vec<usize>,
    /// Experts to divide.
    pub divisions: Vec<Division>,
    /// Duration of sibling inhibition.
    pub inhibition: Inhibition,
}

impl Change {
    /// Slot from which each of `slots` slots takes its weights.
    pub fn sources(&self, slots: usize) -> Vec<usize> {
        let mut sources: Vec<usize> = (0..slots).collect();
        for division in &self.divisions {
            sources[division.child] = division.parent;
        }
        sources
    }

    /// Whether no expert is added or retired.
    pub fn is_empty(&self) -> bool {
        self.retired.is_empty() && self.divisions.is_empty()
    }
}

/// Extra outputs of a router whose number of experts grows.
#[derive(Debug, Clone)]
pub struct Growing<B: Backend> {
    /// State of every slot, `[fields, slots]`.
    pub places: Tensor<B, 2>,
    /// Router inputs, `[tokens, hidden_size]`; only in training.
    pub hidden: Option<Tensor<B, 2>>,
    /// Scores of the choice without the bias, `[tokens, slots]`; only in training.
    pub unbiased: Option<Tensor<B, 2>>,
}

impl<B: Backend> Growing<B> {
    /// Number of experts in use, `[1]`.
    pub fn in_use(&self, experts: usize) -> Tensor<B, 1> {
        let in_use = self.places.clone().narrow(0, IN_USE, 1);
        in_use.narrow(1, 0, experts).sum()
    }

    /// Reads the state of the experts.
    pub fn roster(places: Tensor<B, 2>, experts: usize) -> Roster {
        let values: Vec<f32> = places.into_data().iter::<f32>().collect();
        Roster::from_values(&values, experts)
    }
}

/// Slots that each token may choose.
pub(super) struct Access<B: Backend> {
    /// Unreachable slots: not in use, or inhibited. `[tokens, slots]`.
    pub(super) closed: Tensor<B, 2, Bool>,
    /// Subtracted from the scores of reachable slots, from 0 to below 1. `[tokens, slots]`.
    pub(super) penalty: Tensor<B, 2>,
    /// Slot of each slot's founder, which defines its domain, `[slots]`.
    pub(super) founders: Tensor<B, 1, Int>,
    /// Slot of the parent if siblings inhibit each other, else the slot itself, `[slots]`.
    pub(super) elders: Tensor<B, 1, Int>,
    /// 1 if the token is on the slot's side of the plane, or the slot has no sibling. `[tokens, slots]`.
    pub(super) right_side: Tensor<B, 2>,
}

impl<B: Backend> Growth<B> {
    /// Places of a router whose number of experts grows; `None` if all are always in use.
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

    /// Reads the state of the experts on the host.
    pub fn roster(&self) -> Roster {
        Growing::roster(self.places.val(), self.experts)
    }

    /// State after a change.
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
    /// Slots that each token may choose.
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
        // both siblings use one number, so that exactly one of them is on the wrong side
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
