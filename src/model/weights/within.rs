//! A part of another source's tensors.

use std::path::Path;

use burn::tensor::{DType, TensorData};

use super::{WeightError, WeightSource};

/// The tensors of one layer, or those outside of all layers: models larger than memory are run one part at a time.
pub struct Within<'a> {
    source: &'a dyn WeightSource,
    /// Beginning of the layer's names; absent: outside of layers.
    layer: Option<String>,
}

impl std::fmt::Debug for Within<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Within")
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

impl<'a> Within<'a> {
    /// The tensors of a decoder layer, for a [`Block`](crate::model::Block).
    pub fn layer(source: &'a dyn WeightSource, layer: usize) -> Self {
        Self {
            source,
            layer: Some(format!("layers.{layer}.")),
        }
    }

    /// The tensors outside of the decoder layers, for a model without layers.
    pub fn outside_layers(source: &'a dyn WeightSource) -> Self {
        Self {
            source,
            layer: None,
        }
    }

    /// Name of a tensor in the whole model.
    fn whole(&self, name: &str) -> String {
        match &self.layer {
            Some(layer) => format!("{layer}{name}"),
            None => name.to_owned(),
        }
    }
}

impl WeightSource for Within<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let names = self.source.names().into_iter();
        match &self.layer {
            Some(layer) => names
                .filter_map(|name| Some(name.strip_prefix(layer.as_str())?.to_owned()))
                .collect(),
            None => names.filter(|name| !name.starts_with("layers.")).collect(),
        }
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(&self.whole(name))
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(&self.whole(name))
    }

    fn held(&self, name: &str) -> Option<DType> {
        self.source.held(&self.whole(name))
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        self.source.data(&self.whole(name))
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        self.source.part(&self.whole(name), index)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};
    use darkhorse_backends::select::Selected;

    use super::*;
    use crate::model::weights::{InMemory, collect, load};
    use crate::model::{CausalLm, Hidden, ModelConfig, Sequences};

    #[test]
    fn a_model_that_is_loaded_layer_by_layer_computes_what_the_whole_one_does() {
        let config = serde_json::json!({
            "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 3, "intermediate_size": 5,
            "first_k_dense_replace": 1, "max_position_embeddings": 16, "layer_types": ["gqa"],
            "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
            "rope": {}, "initializer_range": 0.3, "domains": {"mode": "off"},
            "moe": {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
        });
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        let device = Default::default();
        let whole = CausalLm::<Selected>::init(&config, 4, &device);
        let tensors = collect(&whole).into_iter();
        let source = InMemory::new(
            "memory",
            tensors.map(|it| (it.name.clone(), it.read().unwrap())),
        );
        let ids = Tensor::<Selected, 2, Int>::from_data([[5, 3, 9, 1], [2, 7, 1, 1]], &device);
        let input = Sequences::plain(ids);

        let mut parts = CausalLm::<Selected>::init(&config, 9, &device);
        let layers = std::mem::take(&mut parts.layers);
        let parts = load(parts, &Within::outside_layers(&source)).unwrap();
        let context = parts.whole_context(&input);
        let mut states = parts.embed(input.ids.clone());
        for (at, layer) in layers.into_iter().enumerate() {
            let layer = load(layer, &Within::layer(&source, at)).unwrap();
            states = layer.forward(states, &context).hidden;
        }
        let states = parts.norm.forward(states);
        let Hidden {
            states: expected, ..
        } = whole.hidden(&input);
        assert_eq!(states.clone().into_data(), expected.clone().into_data());
        assert_eq!(
            parts.logits(states).into_data(),
            whole.logits(expected).into_data()
        );
    }
}
