//! Null experts put into a trained model, so that its tokens visit fewer experts.
//!
//! After ZEDA (<https://arxiv.org/abs/2605.18643>): every layer gets slots that cost nothing; the trained model teaches the
//! one with these slots, whose share of the choices rises to its aim meanwhile. Here only the routers learn, and the bias
//! of the null experts is the one at which so many of a batch's choices fall on them; the biases of experts stay.

mod calibrate;
mod receipt;
mod share;
#[cfg(test)]
mod tests;
mod widened;

pub use calibrate::{Lesson, Progress, calibrate};
pub use receipt::Retrofitted;
pub use widened::Widened;

use crate::model::routing::balance::Rule;
use crate::model::{ModelConfig, ModelConfigError};

/// A model that cannot be given null experts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RetrofitError {
    /// There is nothing that routes.
    #[error("the model has no experts: null experts go beside others")]
    Dense,
    /// It has some.
    #[error("the model has {0} null experts already: train it with another `k_target` instead")]
    HasNull(usize),
    /// Places wait for experts.
    #[error(
        "the model's experts still grow in number: give it null experts when they are all there"
    )]
    Grows,
    /// What they are to be is none of the model's possibilities.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
}

/// The configuration of a model with null experts, of which a token is to visit `k_target` experts in the mean.
///
/// # Errors
///
/// If the model has no experts, or has null ones, or cannot have so many.
pub fn with_null_experts(
    config: &ModelConfig,
    null_experts: usize,
    k_target: f64,
) -> Result<ModelConfig, RetrofitError> {
    let mut config = config.clone();
    let moe = config.moe.as_mut().ok_or(RetrofitError::Dense)?;
    let router = &mut moe.router;
    match router.null_experts {
        0 => {}
        there => return Err(RetrofitError::HasNull(there)),
    }
    if router.initial_experts.is_some() {
        return Err(RetrofitError::Grows);
    }
    router.null_experts = null_experts;
    router.k_target = Some(k_target);
    if matches!(router.balance, Rule::Auxiliary(_)) {
        // a loss does not hold how many experts a token visits
        router.balance = Rule::Sign;
    }
    config.validate()?;
    Ok(config)
}
