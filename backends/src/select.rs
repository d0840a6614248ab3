//! The backend that the cargo features select, and its devices. All `#[cfg(feature)]` of that choice are in this
//! file.
//!
//! If several features are enabled, the first of these wins: `cuda`, `metal`, `vulkan`, `wgpu`, `tch`, `flex`. If
//! none is, there is no [`Selected`], which only the binary and the examples need.

use std::fmt;

#[cfg(feature = "cuda")]
mod chosen {
    pub(super) type Backend = burn_cuda::Cuda;
    pub(super) const NAME: &str = "cuda";
    pub(super) const DEVICES: &str = "`cuda` and `cuda:<index>`";

    pub(super) fn device(kind: &str, index: Option<usize>) -> Option<burn_cuda::CudaDevice> {
        matches!(kind, "cuda" | "gpu").then(|| burn_cuda::CudaDevice::new(index.unwrap_or(0)))
    }
}

#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
mod chosen {
    use burn_wgpu::WgpuDevice;

    #[cfg(feature = "metal")]
    pub(super) type Backend = burn_wgpu::Metal;
    #[cfg(all(feature = "vulkan", not(feature = "metal")))]
    pub(super) type Backend = burn_wgpu::Vulkan;
    #[cfg(not(any(feature = "vulkan", feature = "metal")))]
    pub(super) type Backend = burn_wgpu::Wgpu;

    pub(super) const NAME: &str = if cfg!(feature = "metal") {
        "metal"
    } else if cfg!(feature = "vulkan") {
        "vulkan"
    } else {
        "wgpu"
    };
    pub(super) const DEVICES: &str = "`gpu`, `gpu:<index>` (discrete), `integrated:<index>`, \
        `virtual:<index>`, `cpu`, and the name of the backend for the best of them";

    pub(super) fn device(kind: &str, index: Option<usize>) -> Option<WgpuDevice> {
        match (kind, index) {
            ("gpu", None) => Some(WgpuDevice::DefaultDevice),
            ("gpu", Some(index)) => Some(WgpuDevice::DiscreteGpu(index)),
            ("integrated", index) => Some(WgpuDevice::IntegratedGpu(index.unwrap_or(0))),
            ("virtual", index) => Some(WgpuDevice::VirtualGpu(index.unwrap_or(0))),
            ("cpu", None) => Some(WgpuDevice::Cpu),
            (kind, None | Some(0)) if kind == NAME => Some(WgpuDevice::DefaultDevice),
            (kind, Some(index)) if kind == NAME => Some(WgpuDevice::DiscreteGpu(index)),
            _ => None,
        }
    }
}

#[cfg(all(feature = "tch", not(any(feature = "cuda", feature = "wgpu"))))]
mod chosen {
    use burn_tch::LibTorchDevice;

    pub(super) type Backend = burn_tch::LibTorch;
    pub(super) const NAME: &str = "tch";
    pub(super) const DEVICES: &str = "`cpu`, `cuda`, `cuda:<index>` and `mps`";

    pub(super) fn device(kind: &str, index: Option<usize>) -> Option<LibTorchDevice> {
        match (kind, index) {
            ("cpu" | "tch", None) => Some(LibTorchDevice::Cpu),
            ("cuda" | "gpu", index) => Some(LibTorchDevice::Cuda(index.unwrap_or(0))),
            ("mps", None) => Some(LibTorchDevice::Mps),
            _ => None,
        }
    }
}

#[cfg(all(
    feature = "flex",
    not(any(feature = "cuda", feature = "wgpu", feature = "tch"))
))]
mod chosen {
    use burn_flex::FlexDevice;

    pub(super) type Backend = burn_flex::Flex;
    pub(super) const NAME: &str = "flex";
    pub(super) const DEVICES: &str = "`cpu`";

    pub(super) fn device(kind: &str, index: Option<usize>) -> Option<FlexDevice> {
        (matches!(kind, "cpu" | "flex") && index.is_none()).then_some(FlexDevice)
    }
}

/// Error of a device that the compiled backend does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDevice {
    /// The requested device.
    pub asked: String,
    /// Name of the backend.
    pub backend: &'static str,
    /// The devices that it supports.
    pub offered: &'static str,
}

impl fmt::Display for UnknownDevice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked,
            backend,
            offered,
        } = self;
        write!(
            out,
            "`{asked}` is no device of the compiled backend `{backend}`, expected {offered}"
        )
    }
}

impl std::error::Error for UnknownDevice {}

#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda", feature = "tch"))]
pub use selected::{
    Device, Selected, default_device, default_dtype, device, devices, name, notice,
};

#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda", feature = "tch"))]
mod selected {
    use burn::tensor::backend::BackendTypes;
    use burn::tensor::{DType, Element};

    use super::{UnknownDevice, chosen};

    /// The backend that the cargo features select.
    pub type Selected = chosen::Backend;

    /// A device of the selected backend.
    pub type Device = <Selected as BackendTypes>::Device;

    /// Name of the selected backend.
    pub fn name() -> &'static str {
        chosen::NAME
    }

    /// Default floating-point type of new tensors.
    pub fn default_dtype() -> DType {
        <Selected as BackendTypes>::FloatElem::dtype()
    }

    /// The default device: the best GPU of a GPU backend, else the CPU.
    pub fn default_device() -> Device {
        Device::default()
    }

    /// Parses a device name such as `cpu`, `cuda:1`, `mps`, `gpu:0` or `vulkan`. The device is opened by its first
    /// tensor, not here.
    ///
    /// # Errors
    ///
    /// If the compiled backend has no such device.
    pub fn device(spec: &str) -> Result<Device, UnknownDevice> {
        let unknown = || UnknownDevice {
            asked: spec.to_owned(),
            backend: chosen::NAME,
            offered: chosen::DEVICES,
        };
        let (kind, index) = match spec.split_once(':') {
            Some((kind, index)) => (kind, Some(index.parse().map_err(|_| unknown())?)),
            None => (spec, None),
        };
        chosen::device(kind, index).ok_or_else(unknown)
    }

    /// Parses a comma-separated list of device names.
    ///
    /// # Errors
    ///
    /// If the compiled backend lacks one of them.
    pub fn devices(specs: &str) -> Result<Vec<Device>, UnknownDevice> {
        specs.split(',').map(|spec| device(spec.trim())).collect()
    }

    /// One line for the start of a program: backend, device, number of host threads, and which feature won if
    /// several are enabled.
    pub fn notice(device: &Device) -> String {
        let mut on = Vec::new();
        for (feature, is_on) in [
            ("cuda", cfg!(feature = "cuda")),
            ("metal", cfg!(feature = "metal")),
            ("vulkan", cfg!(feature = "vulkan")),
            // The two above enable `wgpu`.
            (
                "wgpu",
                cfg!(all(
                    feature = "wgpu",
                    not(any(feature = "metal", feature = "vulkan"))
                )),
            ),
            ("tch", cfg!(feature = "tch")),
            ("flex", cfg!(feature = "flex")),
        ] {
            if is_on {
                on.push(feature);
            }
        }
        let others = match &on[..] {
            [_, others @ ..] if !others.is_empty() => {
                format!(" (`{}` wins over `{}`)", chosen::NAME, others.join("`, `"))
            }
            _ => String::new(),
        };
        let plural = if threads() == 1 { "" } else { "s" };
        format!(
            "backend {}{others}, device {device:?}, {} thread{plural}",
            chosen::NAME,
            threads()
        )
    }

    /// Number of threads that compute on the host.
    fn threads() -> usize {
        #[cfg(feature = "flex")]
        return rayon::current_num_threads();
        #[cfg(not(feature = "flex"))]
        return std::thread::available_parallelism().map_or(1, usize::from);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(
        feature = "flex",
        not(any(feature = "cuda", feature = "wgpu", feature = "tch"))
    ))]
    mod flex {
        use crate::select::{device, devices, name, notice};

        #[test]
        fn the_cpu_is_the_only_device_of_flex() {
            assert_eq!(name(), "flex");
            assert!(device("cpu").is_ok());
            assert_eq!(devices("cpu, cpu").map(|devices| devices.len()), Ok(2));
            for spec in ["cuda:1", "cpu:0", "cpu:x", "mps", ""] {
                let error = device(spec).expect_err("flex has only the CPU");
                assert_eq!(
                    error.to_string(),
                    format!("`{spec}` is no device of the compiled backend `flex`, expected `cpu`")
                );
            }
        }

        #[test]
        fn the_notice_names_backend_device_and_threads() {
            let threads = rayon::current_num_threads();
            let notice = notice(&device("cpu").expect("flex has the CPU"));
            assert!(notice.starts_with("backend flex, device Cpu, "), "{notice}");
            assert!(notice.contains(&threads.to_string()));
        }
    }
}
