//! What a meter says of a device.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::total::Total;

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// NVIDIA's management library.
    Nvml,
    /// Running average power limit, of Intel's and AMD's processors.
    Rapl,
}

/// How a figure was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// The difference of an energy counter in the hardware or its driver.
    Counter,
    /// The sum over readings of the power, ten a second.
    IntegratedPower,
    /// It could not be read.
    Unavailable,
}

/// What a device has drawn up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The device, as in `CPU package-0`.
    pub device: Arc<str>,
    /// Where the reading comes from.
    pub source: Source,
    /// How it is made.
    pub quality: Quality,
    /// The energy since some earlier moment; none if the device could not be read.
    pub total: Option<Total>,
}

impl Reading {
    /// A reading of the quality that the meter has when it can read.
    pub(super) fn new(
        device: &Arc<str>,
        source: Source,
        quality: Quality,
        total: Option<Total>,
    ) -> Self {
        let quality = total.map_or(Quality::Unavailable, |_| quality);
        Self {
            device: device.clone(),
            source,
            quality,
            total,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvml => "NVML",
            Self::Rapl => "RAPL",
        })
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::IntegratedPower => "integrated power",
            Self::Unavailable => "unavailable",
        })
    }
}
