//! Adds null experts to a trained model, so that its tokens visit fewer experts.
//!
//! After ZEDA (<https://arxiv.org/abs/2605.18643>): every layer gets slots that cost nothing, and the original model
//! teaches the one with these slots while their share of the choices rises to its target. Here only the routers
//! learn. The bias of the null experts is set so that they get their share of a batch's choices; the biases of
//! experts stay.

mod calibrate;
mod receipt;
mod share;
#[cfg(test)]
mod tests;
mod widened;

#[cfg(test)]
pub(in crate::surgery) use calibrate::divergence;
pub use calibrate::{Lesson, Progress, calibrate};
pub use receipt::Retrofitted;
pub use widened::Widened;

use crate::model::routing::balance::Rule;
use crate::model::{ModelConfig, ModelConfigError};

/// Null experts cannot be added.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RetrofitError {
    /// The model has no experts.
    #[error("the model has no experts: null experts go beside others")]
    Dense,
    /// The model has null experts already.
    #[error("the model has {0} null experts already: train it with another `k_target` instead")]
    HasNull(usize),
    /// The model's experts grow in number by mitosis.
    #[error(
        "the model's experts still grow in number: give it null experts when they are all there"
    )]
    Grows,
    /// The resulting configuration is invalid.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
}

/// The configuration of a model with null experts, of which a token visits `k_target` experts on average.
///
/// # Errors
///
/// The model has no experts, has null experts already, or does not allow these numbers.
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
        // only the sign rule controls how many experts a token visits, an auxiliary loss does not
        router.balance = Rule::Sign;
    }
    config.validate()?;
    Ok(config)
}
