//! Readings of a device's energy.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::total::Total;

/// Source of an energy figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// NVIDIA's management library (NVML).
    Nvml,
    /// The running average power limit counters of Intel's and AMD's processors (RAPL).
    Rapl,
}

/// Method of an energy figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Difference of an energy counter in the hardware or its driver.
    Counter,
    /// Integral of power readings, ten per second.
    IntegratedPower,
    /// The device could not be read.
    Unavailable,
}

/// Accumulated energy of a device at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Name of the device, as in `CPU package-0`.
    pub device: Arc<str>,
    /// Source of the reading.
    pub source: Source,
    /// Method of the reading.
    pub quality: Quality,
    /// Energy since a fixed, arbitrary moment; `None` if the device could not be read.
    pub total: Option<Total>,
}

impl Reading {
    /// A reading with the given quality, or [`Quality::Unavailable`] if `total` is `None`.
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
