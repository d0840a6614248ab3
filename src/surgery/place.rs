//! Position of a mixture-of-experts layer in a model.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ModelConfig;

/// A layer with experts, written as `layers.3` or `mtp.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Place {
    /// A decoder layer, from 0.
    Layer(usize),
    /// A multi-token prediction module, from 0.
    Mtp(usize),
}

impl Place {
    /// The place of a router by its number in
    /// [`CausalLm::watch_all_routers`](crate::model::CausalLm::watch_all_routers), where MTP modules follow the
    /// decoder layers.
    pub(super) fn of(number: usize, config: &ModelConfig) -> Self {
        match number.checked_sub(config.num_hidden_layers) {
            None => Self::Layer(number),
            Some(module) => Self::Mtp(module),
        }
    }

    /// The place that a parameter belongs to, from its name; `None` for parameters outside of layers.
    pub(super) fn of_parameter(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (kind, number) = (parts.next()?, parts.next()?.parse().ok()?);
        match kind {
            "layers" => Some(Self::Layer(number)),
            "mtp" => Some(Self::Mtp(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(number) => write!(f, "layers.{number}"),
            Self::Mtp(number) => write!(f, "mtp.{number}"),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let place = Self::of_parameter(&text);
        place.ok_or_else(|| {
            format!("`{text}` names no layer, expected one as `layers.3` or `mtp.0`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_its_parameters_begin() {
        for place in [Place::Layer(0), Place::Layer(17), Place::Mtp(1)] {
            assert_eq!(Place::try_from(String::from(place)), Ok(place));
            let parameter = format!("{place}.feed_forward.router.gate.weight");
            assert_eq!(Place::of_parameter(&parameter), Some(place));
        }
        assert_eq!(Place::of_parameter("domain_prior.table"), None);
        assert!(Place::try_from("embed_tokens".to_owned()).is_err());
    }
}
