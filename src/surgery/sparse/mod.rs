//! Conversion of a dense model into one with experts: which layers, which configuration, which tensors.
//!
//! [`upcycle`](super::upcycle) copies the feed-forwards, `carve` splits them; both present the new model as a
//! [`SparseSource`] over the weights of the dense one.

mod digest;
mod kept_dense;
mod phases;
mod source;

use std::collections::BTreeSet;

pub use digest::digest;
pub use kept_dense::KeptDense;
pub use phases::{Phase, Phases};
pub use source::{FeedForwards, Projection, SparseSource};

use crate::model::feed_forward::moe::MoeConfig;
use crate::model::routing::domain::{DomainConfig, DomainMode};
use crate::model::{ModelConfig, ModelConfigError};

/// A dense model cannot be given experts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SparseError {
    /// The model has experts.
    #[error("the model has {0} experts per layer already, expected a dense one")]
    HasExperts(usize),
    /// The feed-forward has biases.
    #[error(
        "`mlp_bias` is true: the feed-forwards have biases, and experts have none, so that they cannot be converted"
    )]
    Biased,
    /// The feed-forward drops small activations.
    #[error(
        "`selective` is set: the feed-forwards keep only their largest activations, which experts do not"
    )]
    Selective,
    /// The model has multi-token prediction modules.
    #[error(
        "`num_nextn_predict_layers` is {0}, expected 0: modules that predict further tokens are not converted"
    )]
    Modules(usize),
    /// A layer that the model does not have is to stay dense.
    #[error("layer {layer} is to stay dense, and the model has layers 0 to {}", layers - 1)]
    NoSuchLayer {
        /// The layer.
        layer: usize,
        /// Number of layers of the model.
        layers: usize,
    },
    /// All layers stay dense.
    #[error(
        "all {0} layers are to stay dense, so that nothing is converted: name fewer by `--keep-dense-layers`"
    )]
    AllDense(usize),
    /// The width is no multiple of the number of experts.
    #[error(
        "{experts} experts do not divide `intermediate_size` {width}: take {}",
        numbers(fitting)
    )]
    NotDivided {
        /// Number of experts.
        experts: usize,
        /// Width of the dense feed-forward.
        width: usize,
        /// The nearest numbers that divide it.
        fitting: Vec<usize>,
    },
    /// Too few or too many shared or chosen experts.
    #[error("`{option}` is {value}, expected {least} to {most}")]
    Count {
        /// Option of the command.
        option: &'static str,
        /// Its value.
        value: usize,
        /// Smallest possible value.
        least: usize,
        /// Largest possible value.
        most: usize,
    },
    /// The resulting configuration is invalid.
    #[error(transparent)]
    Config(#[from] ModelConfigError),
}

impl SparseError {
    /// Checks the value of an option.
    pub(super) fn in_range(
        option: &'static str,
        value: usize,
        least: usize,
        most: usize,
    ) -> Result<(), Self> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(Self::Count {
            option,
            value,
            least,
            most,
        })
    }
}

fn numbers(all: &[usize]) -> String {
    let all: Vec<String> = all.iter().map(usize::to_string).collect();
    all.join(" or ")
}

/// Refuses a model that has no plain dense feed-forwards.
///
/// # Errors
///
/// [`SparseError`].
pub fn check_dense(config: &ModelConfig) -> Result<(), SparseError> {
    match &config.moe {
        Some(moe) => Err(SparseError::HasExperts(moe.n_routed_experts)),
        None if config.mlp_bias => Err(SparseError::Biased),
        None if config.selective.is_some() => Err(SparseError::Selective),
        None => match config.num_nextn_predict_layers {
            0 => Ok(()),
            modules => Err(SparseError::Modules(modules)),
        },
    }
}

/// The configuration of a dense model with experts in all layers but those in `dense`.
///
/// # Errors
///
/// A model that is not dense, or an invalid configuration.
pub(super) fn with_experts(
    config: &ModelConfig,
    dense: &BTreeSet<usize>,
    moe: MoeConfig,
) -> Result<ModelConfig, SparseError> {
    check_dense(config)?;
    let leading = (0..).take_while(|layer| dense.contains(layer)).count();
    let config = ModelConfig {
        moe: Some(moe),
        first_k_dense_replace: leading,
        mlp_only_layers: dense.range(leading..).copied().collect(),
        domains: DomainConfig {
            mode: DomainMode::Off,
            expert_domains: None,
            ..config.domains.clone()
        },
        ..config.clone()
    };
    config.validate()?;
    Ok(config)
}
