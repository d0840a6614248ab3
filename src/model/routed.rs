//! Inspection of the routers during a forward pass.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::block::Block;
use super::causal_lm::CausalLm;
use super::context::Context;
use super::feed_forward::FeedForward;
use super::feed_forward::experts::Experts;
use super::mixer::TokenMixer;
use super::routing::{Route, Routing, Surroundings};
use super::sequences::{Sequences, shift_left};

/// Input and output of one layer's router.
#[derive(Debug)]
pub struct Routed<'a, B: Backend, R> {
    /// Index of the layer in the model, from 0.
    pub layer: usize,
    /// The router.
    pub router: &'a R,
    /// The experts of the layer.
    pub experts: &'a Experts<B>,
    /// Input tokens, `[batch * seq, hidden_size]`.
    pub hidden: Tensor<B, 2>,
    /// Further inputs of the router.
    pub around: &'a Surroundings<B>,
    /// Output of the router.
    pub routing: Routing<B>,
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> CausalLm<B, M, R> {
    /// Runs whole sequences and calls `watch` for every router of the decoder layers. Returns the states of
    /// [`hidden`](Self::hidden), bit for bit unless routing is [batch-aware](Self::with_batch_aware), which is
    /// ignored here.
    pub fn watch_routers(
        &self,
        input: &Sequences<B>,
        mut watch: impl FnMut(Routed<'_, B, R>),
    ) -> Tensor<B, 3> {
        let context = self.whole_context(input);
        let mut states = self.embed(input.ids.clone());
        for (at, layer) in self.layers.iter().enumerate() {
            states = watch_block(layer, at, states, &context, &mut watch);
        }
        self.norm.forward(self.adapt(states, context.phase))
    }

    /// [`watch_routers`](Self::watch_routers), then the MTP modules, numbered as further layers.
    pub fn watch_all_routers(&self, input: &Sequences<B>, mut watch: impl FnMut(Routed<'_, B, R>)) {
        let mut states = self.watch_routers(input, &mut watch);
        let context = self.context(input);
        for (depth, module) in self.mtp.iter().enumerate() {
            let ahead = self.embed(shift_left(input.ids.clone(), depth + 1));
            let joined = module.join(ahead, states);
            let at = self.layers.len() + depth;
            let read = watch_block(&module.block, at, joined, &context, &mut watch);
            states = module.norm.forward(read);
        }
    }

    /// Routers of the decoder layers, first layer first.
    pub fn routers(&self) -> impl Iterator<Item = &R> {
        self.layers
            .iter()
            .filter_map(|layer| match &layer.feed_forward {
                FeedForward::Moe(moe) => Some(&moe.router),
                FeedForward::Dense(_) | FeedForward::Selective(_) => None,
            })
    }
}

/// Runs a layer and calls `watch` for its router.
fn watch_block<B: Ops, M: TokenMixer<B>, R: Route<B>>(
    layer: &Block<B, M, R>,
    at: usize,
    states: Tensor<B, 3>,
    context: &Context<B>,
    watch: &mut impl FnMut(Routed<'_, B, R>),
) -> Tensor<B, 3> {
    let mixed = layer.mix(states, context);
    let output = layer.transform(mixed.clone(), context);
    if let (FeedForward::Moe(moe), Some(routing)) = (&layer.feed_forward, output.routing) {
        let [batch, seq, width] = mixed.dims();
        let read = layer.post_attention_layernorm.forward(mixed);
        watch(Routed {
            layer: at,
            router: &moe.router,
            experts: &moe.experts,
            hidden: read.reshape([batch * seq, width]),
            around: &context.around,
            routing,
        });
    }
    output.hidden
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, TensorData};
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::model::ModelConfig;

    fn model() -> CausalLm<Selected> {
        let json = serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 3, "intermediate_size": 5,
            "first_k_dense_replace": 1, "max_position_embeddings": 16, "layer_types": ["gqa"],
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "rope": {}, "initializer_range": 0.3,
            "moe": {"n_routed_experts": 10, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
        });
        let config: ModelConfig = serde_json::from_value(json).unwrap();
        config.validate().unwrap();
        CausalLm::init(&config, 1, &Default::default())
    }

    #[test]
    fn watching_changes_nothing_and_shows_what_the_router_read() {
        let model = model();
        let device = Default::default();
        let ids = TensorData::new(vec![1i32, 9, 4, 4, 7, 2], [2, 3]);
        let mut input = Sequences::plain(Tensor::<Selected, 2, Int>::from_data(ids, &device));
        input.tags = Some(Tensor::from_data([1, 1, 1, 3, 3, 3], &device));
        let hidden = model.hidden(&input);

        let mut watched = Vec::new();
        let states = model.watch_routers(&input, |routed| {
            let again = routed.router.route(routed.hidden, routed.around);
            assert_eq!(
                again.indices.into_data(),
                routed.routing.indices.clone().into_data()
            );
            watched.push((routed.layer, routed.routing));
        });

        assert_eq!(states.into_data(), hidden.states.into_data());
        let layers: Vec<usize> = watched.iter().map(|it| it.0).collect();
        assert_eq!(layers, [1, 2]);
        assert_eq!(model.routers().count(), 2);
        for ((_, watched), routing) in watched.into_iter().zip(hidden.routings) {
            assert_eq!(watched.indices.into_data(), routing.indices.into_data());
            assert_eq!(watched.weights.into_data(), routing.weights.into_data());
        }
    }

    #[test]
    fn modules_are_watched_behind_the_layers_and_do_what_they_do_in_training() {
        let json = serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 5,
            "first_k_dense_replace": 1, "max_position_embeddings": 16, "layer_types": ["gqa"],
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "rope": {}, "initializer_range": 0.3, "num_nextn_predict_layers": 2,
            "moe": {"n_routed_experts": 10, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
        });
        let config: ModelConfig = serde_json::from_value(json).unwrap();
        config.validate().unwrap();
        let model = CausalLm::<Selected>::init(&config, 1, &Default::default());
        let ids = TensorData::new(vec![1i32, 9, 4, 4, 7, 2], [1, 6]);
        let input = Sequences::plain(Tensor::from_data(ids, &Default::default()));

        let mut watched = Vec::new();
        model.watch_all_routers(&input, |routed| {
            watched.push((routed.layer, routed.routing.weights.into_data()));
        });

        let hidden = model.hidden(&input);
        let first = model.predict_further(0, hidden.states, &input);
        let second = model.predict_further(1, first.states, &input);
        let routings = [hidden.routings, first.routings, second.routings].concat();
        assert_eq!(routings.len(), 3);
        for (at, ((layer, weights), routing)) in watched.into_iter().zip(routings).enumerate() {
            assert_eq!(layer, at + 1);
            assert_eq!(weights, routing.weights.into_data());
        }
    }
}
