//! The residual stream of a text between two layers of a model.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use crate::data::{PADDING, PackedBatch};
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::model::{Block, CausalLm, Context};
use crate::training::batch;

/// The residual stream of all tokens of a text, batch by batch.
#[derive(Debug, Clone)]
pub(in crate::surgery) struct ResidualStream<B: Ops> {
    batches: Vec<Batch<B>>,
}

#[derive(Debug, Clone)]
struct Batch<B: Ops> {
    context: Context<B>,
    /// `[rows, seq, hidden_size]`.
    states: Tensor<B, 3>,
    /// Indices of the tokens that are no padding; absent: all.
    present: Option<Tensor<B, 1, Int>>,
}

impl<B: Ops> ResidualStream<B> {
    /// Embeds a text. `model` needs no layers.
    pub(in crate::surgery) fn embed<M, R>(model: &CausalLm<B, M, R>, text: &[PackedBatch]) -> Self
    where
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let device = model.embed_tokens.device();
        let batch = |rows: &PackedBatch| {
            let input = batch::sequences(rows, &device);
            let present = rows.segments.iter().enumerate();
            let present = present.filter(|(_, segment)| **segment != PADDING);
            let present: Vec<i32> = present.map(|(at, _)| at as i32).collect();
            let is_full = present.len() == rows.segments.len();
            let count = present.len();
            let indices = || Tensor::from_data(TensorData::new(present, [count]), &device);
            Batch {
                context: model.whole_context(&input),
                states: model.embed(input.ids),
                present: (!is_full).then(indices),
            }
        };
        Self {
            batches: text.iter().map(batch).collect(),
        }
    }

    /// Runs the mixer of a layer.
    pub(in crate::surgery) fn mix<M: TokenMixer<B>, R: Route<B>>(
        &mut self,
        layer: &Block<B, M, R>,
    ) {
        for batch in &mut self.batches {
            batch.states = layer.mix(batch.states.clone(), &batch.context);
        }
    }

    /// Runs the feed-forward of a layer.
    pub(in crate::surgery) fn transform<M: TokenMixer<B>, R: Route<B>>(
        &mut self,
        layer: &Block<B, M, R>,
    ) {
        for batch in &mut self.batches {
            batch.states = layer.transform(batch.states.clone(), &batch.context).hidden;
        }
    }

    /// Inputs of a layer's feed-forward, after its mixer has run, without padding: `[tokens, hidden_size]` per batch.
    pub(in crate::surgery) fn inputs<M: TokenMixer<B>, R: Route<B>>(
        &self,
        layer: &Block<B, M, R>,
    ) -> impl Iterator<Item = Tensor<B, 2>> {
        let norm = &layer.post_attention_layernorm;
        self.tokens().map(|states| norm.forward(states))
    }

    /// States without padding, `[tokens, hidden_size]` per batch.
    pub(in crate::surgery) fn tokens(&self) -> impl Iterator<Item = Tensor<B, 2>> {
        self.batches.iter().map(|batch| {
            let [rows, seq, width] = batch.states.dims();
            let tokens = batch.states.clone().reshape([rows * seq, width]);
            match &batch.present {
                Some(present) => tokens.select(0, present.clone()),
                None => tokens,
            }
        })
    }

    /// States of each batch, `[rows, seq, hidden_size]`.
    pub(in crate::surgery) fn states(&self) -> impl Iterator<Item = &Tensor<B, 3>> {
        self.batches.iter().map(|batch| &batch.states)
    }
}
