//! Energy of NVIDIA devices through the driver's management library, which is loaded at run time
//! (<https://docs.nvidia.com/deploy/nvml-api/>).
//!
//! Devices since Volta have an energy counter. For others, power is integrated: the instantaneous power if the driver
//! reports it, else its mean over about a second.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_POWER_INSTANT;
use nvml_wrapper::{Device, Nvml};

use super::EnergyMeter;
use super::integral::Integral;
use super::machine::Unavailable;
use super::reading::{Quality, Reading, Source};
use super::scope::Scope;
use super::total::{Counter, Range};

/// Names of the library, in the order in which they are tried.
#[cfg(windows)]
pub(super) const LIBRARIES: [&str; 1] = ["nvml.dll"];
#[cfg(not(windows))]
pub(super) const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The measured devices.
#[derive(Debug)]
pub(super) struct Gpus {
    nvml: Nvml,
    gpus: Vec<Gpu>,
}

#[derive(Debug)]
struct Gpu {
    index: u32,
    device: Arc<str>,
    gauge: Gauge,
}

/// How a device is measured.
#[derive(Debug)]
enum Gauge {
    Energy(Counter),
    Power(Power, Integral),
}

#[derive(Debug, Clone, Copy)]
enum Power {
    Instant,
    Mean,
}

impl Gpus {
    /// Polling interval of the power.
    const INTERVAL: Duration = Duration::from_millis(100);

    /// Opens the devices in `scope`, and returns the reasons for those that report nothing. It is an error if no
    /// device reports anything.
    pub(super) fn open(
        libraries: &[&(impl AsRef<OsStr> + ?Sized)],
        scope: &Scope,
    ) -> Result<(Self, Vec<Unavailable>), Vec<Unavailable>> {
        let nvml = load(libraries).map_err(|error| vec![error])?;
        let failed = |error: NvmlError| {
            let library = libraries[0].as_ref().to_string_lossy().into_owned();
            let reason = error.to_string();
            vec![Unavailable::Nvml { library, reason }]
        };
        let found = nvml.device_count().map_err(failed)?;
        let (mut gpus, mut silent) = (Vec::new(), Vec::new());
        for index in 0..found {
            let device = nvml.device_by_index(index).map_err(failed)?;
            if !scope.has(index, &device.uuid().unwrap_or_default()) {
                continue;
            }
            let name = device.name().unwrap_or_else(|_| "NVIDIA device".into());
            let name = format!("{name} #{index}");
            match Gauge::of(&device) {
                Ok(gauge) => gpus.push(Gpu {
                    index,
                    device: name.into(),
                    gauge,
                }),
                Err((energy, power)) => silent.push(Unavailable::Gpu {
                    device: name,
                    energy: energy.to_string(),
                    power: power.to_string(),
                }),
            }
        }
        if gpus.is_empty() && silent.is_empty() {
            silent.push(Unavailable::NoGpu { found });
        }
        if gpus.is_empty() {
            return Err(silent);
        }
        Ok((Self { nvml, gpus }, silent))
    }

    /// Driver version, and the power limit of each device.
    pub(super) fn facts(&self) -> Vec<String> {
        let driver = self.nvml.sys_driver_version().ok();
        let driver = driver.map(|version| format!("NVIDIA driver {version}"));
        let limits = self.limits().into_iter();
        let limits = limits.map(|(device, limit_w)| format!("{device}: power limit {limit_w} W"));
        driver.into_iter().chain(limits).collect()
    }

    /// Power limit of each device that tells it, in watts.
    fn limits(&self) -> Vec<(Arc<str>, f64)> {
        let limits = self.gpus.iter().filter_map(|gpu| {
            let device = self.nvml.device_by_index(gpu.index).ok()?;
            let limit_mw = device.enforced_power_limit().ok()?;
            Some((gpu.device.clone(), f64::from(limit_mw) * 1e-3))
        });
        limits.collect()
    }
}

/// Loads the first library that exists.
fn load(libraries: &[&(impl AsRef<OsStr> + ?Sized)]) -> Result<Nvml, Unavailable> {
    let mut first = None;
    for library in libraries {
        let library = library.as_ref();
        match Nvml::builder().lib_path(library).init() {
            Ok(nvml) => return Ok(nvml),
            Err(error) => {
                let is_missing = matches!(error, NvmlError::LibloadingError(_));
                let reason = if is_missing {
                    "it was not found; it comes with NVIDIA's driver".into()
                } else {
                    error.to_string()
                };
                let library = library.to_string_lossy().into_owned();
                let reason = Unavailable::Nvml { library, reason };
                if !is_missing {
                    return Err(reason);
                }
                first.get_or_insert(reason);
            }
        }
    }
    Err(first.expect("the names of libraries"))
}

impl Gauge {
    /// The best gauge of a device, or the errors if it reports neither energy nor power.
    fn of(device: &Device<'_>) -> Result<Self, (NvmlError, NvmlError)> {
        let energy = match device.total_energy_consumption() {
            Ok(_) => return Ok(Self::Energy(Counter::new(Range::Endless))),
            Err(error) => error,
        };
        if instant_w(device).is_some() {
            return Ok(Self::Power(Power::Instant, Integral::default()));
        }
        match device.power_usage() {
            Ok(_) => Ok(Self::Power(Power::Mean, Integral::default())),
            Err(power) => Err((energy, power)),
        }
    }
}

impl Power {
    fn watts(self, device: &Device<'_>) -> Option<f64> {
        match self {
            Self::Instant => instant_w(device),
            Self::Mean => Some(f64::from(device.power_usage().ok()?) * 1e-3),
        }
    }
}

/// Instantaneous power, in watts.
fn instant_w(device: &Device<'_>) -> Option<f64> {
    let fields = device.field_values_for(&[FieldId(NVML_FI_DEV_POWER_INSTANT)]);
    let field = fields.ok()?.into_iter().next()?.ok()?;
    match field.value.ok()? {
        SampleValue::U32(power_mw) => Some(f64::from(power_mw) * 1e-3),
        SampleValue::U64(power_mw) => Some(power_mw as f64 * 1e-3),
        SampleValue::F64(_) | SampleValue::I64(_) => None,
    }
}

impl Gpu {
    fn read(&mut self, nvml: &Nvml, now: Duration) -> Reading {
        let device = nvml.device_by_index(self.index).ok();
        let (quality, total) = match &mut self.gauge {
            Gauge::Energy(counter) => {
                let energy_mj = device.and_then(|it| it.total_energy_consumption().ok());
                let energy_uj = energy_mj.map(|energy_mj| energy_mj.saturating_mul(1000));
                (Quality::Counter, counter.advance(now, energy_uj))
            }
            Gauge::Power(power, integral) => {
                let watts = device.and_then(|it| power.watts(&it));
                (Quality::IntegratedPower, integral.advance(now, watts))
            }
        };
        Reading::new(&self.device, Source::Nvml, quality, total)
    }

    fn is_integrated(&self) -> bool {
        matches!(self.gauge, Gauge::Power(..))
    }
}

impl EnergyMeter for Gpus {
    fn sample(&mut self, now: Duration) -> Vec<Reading> {
        let nvml = &self.nvml;
        let gpus = self.gpus.iter_mut();
        gpus.map(|gpu| gpu.read(nvml, now)).collect()
    }

    fn poll(&mut self, now: Duration) {
        let integrated = self.gpus.iter_mut().filter(|gpu| gpu.is_integrated());
        for gpu in integrated {
            gpu.read(&self.nvml, now);
        }
    }

    fn interval(&self) -> Option<Duration> {
        let is_needed = self.gpus.iter().any(Gpu::is_integrated);
        is_needed.then_some(Self::INTERVAL)
    }

    fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        self.limits()
    }
}
