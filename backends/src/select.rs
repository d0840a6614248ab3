//! The backend that the cargo features chose. All `#[cfg(feature)]` of the choice stands here.
//!
//! With more than one feature the most specific wins: `cuda`, `metal`, `vulkan`, `wgpu`, `tch`, `flex`.
//! With none there is no [`Selected`], and only the binary and the examples miss it.

#[cfg(feature = "cuda")]
mod chosen {
    pub(super) type Backend = burn_cuda::Cuda;
    pub(super) const NAME: &str = "cuda";
}

#[cfg(all(feature = "wgpu", not(feature = "cuda")))]
mod chosen {
    pub(super) type Backend = burn_wgpu::Wgpu;
    pub(super) const NAME: &str = if cfg!(feature = "metal") {
        "metal"
    } else if cfg!(feature = "vulkan") {
        "vulkan"
    } else {
        "wgpu"
    };
}

#[cfg(all(feature = "tch", not(any(feature = "cuda", feature = "wgpu"))))]
mod chosen {
    pub(super) type Backend = burn_tch::LibTorch;
    pub(super) const NAME: &str = "tch";
}

#[cfg(all(feature = "flex", not(any(feature = "cuda", feature = "wgpu", feature = "tch"))))]
mod chosen {
    pub(super) type Backend = burn_flex::Flex;
    pub(super) const NAME: &str = "flex";
}

/// The selected backend.
#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda", feature = "tch"))]
pub type Selected = chosen::Backend;

/// Name of the feature that [`Selected`] comes from.
#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda", feature = "tch"))]
pub fn name() -> &'static str {
    chosen::NAME
}
