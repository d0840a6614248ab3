//! Parameter groups: which parameters decay, and which have their own learning rate.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;
use crate::model::norm::NormWeight;
use crate::model::weights::param_names;

/// Assignment of parameters to groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupingConfig {
    /// Only matrices decay.
    #[default]
    ByDimension,
    /// Genesis-152M's plain grouping: matrices except the embedding table decay, and so do zero-centered norm
    /// weights of the residual stream.
    Genesis,
    /// Genesis-152M's grouping for µP: the learning rate of all parameters except the embedding table is divided by
    /// the width multiplier; all parameters except biases and norm weights decay.
    Mup,
}

/// Settings of a parameter group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Factor on the learning rate.
    pub rate: f64,
    /// Factor on the weight decay, 0 or 1.
    pub decay: f64,
}

impl GroupingConfig {
    /// Groups of all parameters.
    pub fn groups<B: Backend, M: Module<B>>(
        self,
        module: &M,
        model: &ModelConfig,
    ) -> HashMap<ParamId, Group> {
        let mut dimensions = Dimensions(HashMap::new());
        module.visit(&mut dimensions);
        let names = param_names(module);
        let multiplier = model
            .mup
            .as_ref()
            .map_or(1.0, |mup| mup.width_multiplier(model.hidden_size));
        let of = |(id, name): (ParamId, String)| {
            let dimension = dimensions.0.get(&id).copied().unwrap_or(0);
            (
                id,
                self.group(&name, dimension, model.norm_weight, multiplier),
            )
        };
        names.into_iter().map(of).collect()
    }

    fn group(self, name: &str, dimension: usize, norms: NormWeight, multiplier: f64) -> Group {
        let decays = |does: bool| if does { 1.0 } else { 0.0 };
        let is_table = name == "embed_tokens";
        match self {
            Self::ByDimension => Group {
                rate: 1.0,
                decay: decays(dimension >= 2),
            },
            Self::Genesis => {
                let is_omega = norms == NormWeight::ZeroCentered && is_residual_norm(name);
                Group {
                    rate: 1.0,
                    decay: decays((dimension >= 2 && !is_table) || is_omega),
                }
            }
            Self::Mup => Group {
                rate: if is_table { 1.0 } else { 1.0 / multiplier },
                decay: decays(!name.contains("norm") && !name.contains("bias")),
            },
        }
    }
}

/// Whether a parameter belongs to a norm of the residual stream.
fn is_residual_norm(name: &str) -> bool {
    let of_layer = ["input_layernorm.weight", "post_attention_layernorm.weight"];
    name == "norm.weight" || of_layer.iter().any(|suffix| name.ends_with(suffix))
}

struct Dimensions(HashMap<ParamId, usize>);

impl<B: Backend> ModuleVisitor<B> for Dimensions {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.insert(param.id, D);
    }
}
