//! LoRA: training of low-rank updates of a model's frozen matrices.
//!
//! Hu et al. (<https://arxiv.org/abs/2106.09685>). [`adapt`] replaces the matrices that the [`LoraConfig`] names by
//! [`Adapted`] ones and freezes everything else; stacks of routed experts get a pair of factors per expert.
//! [`Merged`](super::weights::Merged) presents the weights of an adapted model as those of a plain one.

mod config;
mod report;
#[cfg(test)]
mod tests;

use burn::module::{Module, ModuleDisplay, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::init::Initializers;
use super::matrices::MatrixMapper;
use super::matrix::{Adapted, Matrix};
use super::mixer::TokenMixer;
use super::weights::ParamPath;
use super::{CausalLm, ModelConfig};

pub use config::LoraConfig;
pub use report::{Adaptation, report};

/// Names of the trained factors.
pub(super) const FACTORS: [&str; 2] = ["lora_a", "lora_b"];
/// Name of the frozen matrix.
pub(super) const BASE: &str = "base";

/// Distinguishes the random draws of the factors from those of the model's weights.
const STREAM: u64 = 0x4c6f_5241;

/// A model cannot be adapted as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoraError {
    /// A name that stands for no matrix, or for no parameter.
    #[error("`{field}` names `{name}`, which the model does not have; its modules: {known}")]
    Unknown {
        /// Path of the setting.
        field: &'static str,
        /// The name.
        name: String,
        /// Last parts of the names that the model has.
        known: String,
    },
    /// A matrix in blocks.
    #[error(
        "the matrix `{0}` is in blocks and cannot be adapted: take the model that it was made from"
    )]
    InBlocks(String),
}

/// Adapts the matrices of `model`, a model of `config`, and freezes everything that `lora` does not train. The output
/// stays the same, since every `B` is zero. Draws `A` from `seed`, uniform in `±1 / sqrt(in)`, as PEFT does.
///
/// # Errors
///
/// [`LoraError`].
pub fn adapt<B: Ops, M: TokenMixer<B>, R: Module<B> + ModuleDisplay>(
    model: CausalLm<B, M, R>,
    (config, lora): (&ModelConfig, &LoraConfig),
    seed: u64,
) -> Result<CausalLm<B, M, R>, LoraError> {
    let mut adapter = Adapter {
        lora,
        init: Initializers::new(config, seed ^ STREAM),
        found: vec![false; lora.targets.len()],
        known: Vec::new(),
        failure: None,
    };
    let model = model.map_matrices(&mut adapter);
    adapter.finish()?;
    let mut freezer = Freezer {
        path: ParamPath::default(),
        lora,
        found: vec![false; lora.train.len()],
        known: Vec::new(),
    };
    let model = model.map(&mut freezer);
    freezer.finish()?;
    Ok(model)
}

/// Refuses the first name that stands for nothing.
fn all_found(
    field: &'static str,
    names: &[String],
    found: &[bool],
    known: &[String],
) -> Result<(), LoraError> {
    let Some((name, _)) = names.iter().zip(found).find(|(_, found)| !**found) else {
        return Ok(());
    };
    let mut ends: Vec<&str> = Vec::new();
    for name in known {
        let end = name.rsplit('.').next().unwrap_or(name);
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    Err(LoraError::Unknown {
        field,
        name: name.clone(),
        known: ends.join(", "),
    })
}

struct Adapter<'a> {
    lora: &'a LoraConfig,
    init: Initializers<'a>,
    /// Whether each target stands for a matrix seen so far.
    found: Vec<bool>,
    known: Vec<String>,
    failure: Option<LoraError>,
}

impl Adapter<'_> {
    fn finish(self) -> Result<(), LoraError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => all_found("lora.targets", &self.lora.targets, &self.found, &self.known),
        }
    }

    fn change<B: Backend, const D: usize>(
        &mut self,
        name: &str,
        matrix: Matrix<B, D>,
    ) -> Matrix<B, D> {
        self.known.push(name.to_owned());
        let mut is_target = false;
        for (target, found) in self.lora.targets.iter().zip(&mut self.found) {
            let is = config::is_target(target, name);
            is_target |= is;
            *found |= is;
        }
        match matrix {
            Matrix::Dense(base) if is_target => {
                let factors = self.factors(base.lazy_shape().dims(), &base.lazy_device());
                Matrix::Adapted(Adapted::new(base, factors, self.lora.scale()))
            }
            Matrix::Blocks(blocks) if is_target => {
                self.failure = Some(LoraError::InBlocks(name.to_owned()));
                Matrix::Blocks(blocks)
            }
            other => other,
        }
    }

    /// The factors of a matrix of shape `dims`: `A` drawn, `B` zero.
    fn factors<B: Backend, const D: usize>(
        &self,
        dims: [usize; D],
        device: &B::Device,
    ) -> [Param<Tensor<B, D>>; 2] {
        let [mut of_a, mut of_b] = [dims; 2];
        of_a[D - 1] = self.lora.rank;
        of_b[D - 2] = self.lora.rank;
        let bound = 1.0 / (dims[D - 2] as f64).sqrt();
        [
            self.init.uniform(of_a, -bound..bound, device),
            self.init
                .valued(of_b, move |device| Tensor::zeros(of_b, device), device),
        ]
    }
}

impl<B: Backend> MatrixMapper<B> for Adapter<'_> {
    fn matrix(&mut self, name: &str, matrix: Matrix<B, 2>) -> Matrix<B, 2> {
        self.change(name, matrix)
    }

    fn stack(&mut self, name: &str, stack: Matrix<B, 3>) -> Matrix<B, 3> {
        self.change(name, stack)
    }
}

/// Whether the parameter `name` is a factor of an adapted matrix.
fn is_factor(name: &str) -> bool {
    let end = name.rsplit('.').next();
    end.is_some_and(|end| FACTORS.contains(&end))
}

/// Mapper that freezes all parameters but the factors and those that are trained whole.
struct Freezer<'a> {
    path: ParamPath,
    lora: &'a LoraConfig,
    /// Whether each name stands for a parameter seen so far.
    found: Vec<bool>,
    known: Vec<String>,
}

impl Freezer<'_> {
    fn finish(self) -> Result<(), LoraError> {
        all_found("lora.train", &self.lora.train, &self.found, &self.known)
    }
}

impl<B: Backend> ModuleMapper<B> for Freezer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.path.name();
        if is_factor(&name) {
            return param;
        }
        let mut is_whole = false;
        // the frozen part of an adapted matrix is never trained
        if !name.ends_with(&format!(".{BASE}")) {
            for (whole, found) in self.lora.train.iter().zip(&mut self.found) {
                let is = config::is_trained_whole(whole, &name);
                is_whole |= is;
                *found |= is;
            }
        }
        let module = name.strip_suffix(".weight").unwrap_or(&name);
        self.known.push(module.to_owned());
        if is_whole {
            param
        } else {
            param.set_require_grad(false)
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}
