//! Which matrices of a model are adapted, and how many parameters are trained.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{BASE, LoraConfig, is_factor};
use crate::model::routing::domain::PRIOR;
use crate::model::weights::ParamPath;

/// Number of parameters and matrices of an adapted model by what happens to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// Names of the adapted matrices, or stacks of them.
    pub adapted: Vec<String>,
    /// Names of the other matrices, or stacks of them.
    pub others: Vec<String>,
    /// Number of adapted matrices, those of stacks counted one by one.
    pub adapted_matrices: usize,
    /// Number of all matrices, those of stacks counted one by one.
    pub matrices: usize,
    /// Number of trained parameters.
    pub trained: u64,
    /// Number of parameters of the model without its factors.
    pub total: u64,
}

/// Counts the parameters of a model that was [adapted](super::adapt). Draws none.
pub fn report<B: Backend, M: Module<B>>(model: &M, lora: &LoraConfig) -> Adaptation {
    let mut visitor = Visitor {
        path: ParamPath::default(),
        lora,
        counted: Adaptation::default(),
    };
    model.visit(&mut visitor);
    visitor.counted
}

struct Visitor<'a> {
    path: ParamPath,
    lora: &'a LoraConfig,
    counted: Adaptation,
}

impl<B: Backend> ModuleVisitor<B> for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = self.path.name();
        let counted = &mut self.counted;
        let shape = param.lazy_shape();
        let values = shape.num_elements() as u64;
        if is_factor(&name) {
            counted.trained += values;
            return;
        }
        // these follow from counts and from the configuration, not from training
        if name == PRIOR || name.ends_with("e_score_correction_bias") {
            return;
        }
        counted.total += values;
        let matrix = name.strip_suffix(&format!(".{BASE}"));
        let is_base = matrix.is_some();
        if D >= 2 {
            let matrices = shape.dims::<D>()[..D - 2].iter().product::<usize>();
            counted.matrices += matrices;
            match matrix {
                Some(matrix) => {
                    counted.adapted.push(module(matrix).to_owned());
                    counted.adapted_matrices += matrices;
                }
                None => counted.others.push(module(&name).to_owned()),
            }
        }
        // asking a parameter whether it is trained draws it
        if !is_base && self.lora.trains_whole(&name) && param.is_require_grad() {
            counted.trained += values;
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

/// The module of a weight.
fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// Last parts of names, each once, in order.
fn ends(names: &[String]) -> String {
    let mut ends: Vec<&str> = Vec::new();
    for name in names {
        let parts = name.rsplit('.').collect::<Vec<_>>();
        let is_stacked = parts.get(1).is_some_and(|it| it.ends_with("experts"));
        let shown = if is_stacked {
            let at = name.len() - parts[0].len() - parts[1].len() - 1;
            &name[at..]
        } else {
            parts[0]
        };
        if !ends.contains(&shown) {
            ends.push(shown);
        }
    }
    ends.join(", ")
}

impl fmt::Display for Adaptation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.trained as f64 / self.total.max(1) as f64;
        write!(
            f,
            "adapted {} of {} matrices ({}), {} trainable parameters of {} ({share:.2} %); not adapted: {}",
            self.adapted_matrices,
            self.matrices,
            ends(&self.adapted),
            self.trained,
            self.total,
            if self.others.is_empty() {
                "none".to_owned()
            } else {
                ends(&self.others)
            }
        )
    }
}
