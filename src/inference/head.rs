//! Logits of chosen rows of a pass, computed some rows at a time: those of all rows of a long prompt together would
//! take more memory than the model's activations.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;

use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;

/// Number of rows whose logits are held at once.
const ROWS: usize = 128;

/// Rows of logits, in order.
pub(super) struct Rows<'a, B: Ops, M: TokenMixer<B>, R: Route<B>> {
    model: &'a CausalLm<B, M, R>,
    /// States of the pass, `[1, rows, hidden_size]`.
    states: Tensor<B, 3>,
    /// Rows that are still to be computed, the first one last.
    left: Vec<i32>,
    logits: Vec<f32>,
    width: usize,
    /// Begin of the next row in `logits`.
    at: usize,
}

impl<'a, B: Ops, M: TokenMixer<B>, R: Route<B>> Rows<'a, B, M, R> {
    /// Logits of the given rows of `states`.
    pub(super) fn new(
        model: &'a CausalLm<B, M, R>,
        states: Tensor<B, 3>,
        mut rows: Vec<i32>,
    ) -> Self {
        rows.reverse();
        Self {
            model,
            states,
            left: rows,
            logits: Vec::new(),
            width: model.embed_tokens.dims()[0],
            at: 0,
        }
    }

    /// Logits of the next row.
    ///
    /// # Panics
    ///
    /// After the last one.
    pub(super) fn next(&mut self) -> &[f32] {
        if self.at == self.logits.len() {
            self.compute();
        }
        let begin = self.at;
        self.at += self.width;
        &self.logits[begin..self.at]
    }

    fn compute(&mut self) {
        let kept = self.left.len().saturating_sub(ROWS);
        let rows: Vec<i32> = self.left.drain(kept..).rev().collect();
        let [_, all, _] = self.states.dims();
        let states = if rows.len() == all {
            self.states.clone()
        } else {
            let shape = [rows.len()];
            let rows = Tensor::from_data(TensorData::new(rows, shape), &self.states.device());
            self.states.clone().select(1, rows)
        };
        self.logits = values(self.model.logits(states));
        self.at = 0;
    }
}

/// The numbers of a tensor.
pub(super) fn values<B: Ops>(tensor: Tensor<B, 3>) -> Vec<f32> {
    let values = tensor.into_data().convert::<f32>();
    values.into_vec().expect("they were just converted")
}
