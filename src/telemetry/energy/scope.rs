//! Selection of the devices whose energy is measured.

/// The devices that a backend computes on. The processor is always included, since it feeds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Only the processor.
    Processor,
    /// The processor and every NVIDIA device.
    AllGpus,
    /// The processor and these NVIDIA devices.
    Gpus(Vec<Gpu>),
}

/// An NVIDIA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpu {
    /// By its index.
    Index(u32),
    /// By a prefix of its UUID, as in `GPU-8932f937`.
    Uuid(String),
}

impl Scope {
    /// The devices of a backend, by its name and, for CUDA, its device's index. `CUDA_VISIBLE_DEVICES` is taken into
    /// account.
    pub fn of_backend(backend: &str, index: Option<u32>) -> Self {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        Self::among(backend, index, visible.as_deref())
    }

    /// As [`of_backend`](Self::of_backend), where `visible` is the value of `CUDA_VISIBLE_DEVICES`: CUDA numbers the
    /// devices listed there from 0.
    fn among(backend: &str, index: Option<u32>, visible: Option<&str>) -> Self {
        let backend = backend.to_ascii_lowercase();
        if ["flex", "ndarray", "cpu", "metal", "mps"]
            .iter()
            .any(|it| backend.contains(it))
        {
            return Self::Processor;
        }
        let is_cuda = backend.contains("cuda");
        let visible = visible.filter(|_| is_cuda).map(parse);
        match (index.filter(|_| is_cuda), visible) {
            (None, None) => Self::AllGpus,
            (Some(index), None) => Self::Gpus(vec![Gpu::Index(index)]),
            (None, Some(visible)) => Self::Gpus(visible),
            (Some(index), Some(visible)) => Self::Gpus(
                visible
                    .into_iter()
                    .nth(index as usize)
                    .into_iter()
                    .collect(),
            ),
        }
    }

    /// Whether an NVIDIA device is included.
    #[cfg(feature = "energy")]
    pub(super) fn has(&self, index: u32, uuid: &str) -> bool {
        match self {
            Self::Processor => false,
            Self::AllGpus => true,
            Self::Gpus(gpus) => gpus.iter().any(|gpu| match gpu {
                Gpu::Index(number) => *number == index,
                Gpu::Uuid(beginning) => uuid.starts_with(beginning),
            }),
        }
    }
}

/// Parses `CUDA_VISIBLE_DEVICES` as CUDA does: up to the first entry that is not a device.
fn parse(visible: &str) -> Vec<Gpu> {
    let gpu = |text: &str| match text.trim().parse() {
        Ok(index) => Some(Gpu::Index(index)),
        Err(_) => text
            .trim()
            .starts_with("GPU-")
            .then(|| Gpu::Uuid(text.trim().into())),
    };
    visible.split(',').map_while(gpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_on_the_processor_counts_no_gpu() {
        assert_eq!(Scope::among("flex", Some(1), None), Scope::Processor);
        assert_eq!(
            Scope::among("fusion<vulkan>", Some(1), None),
            Scope::AllGpus
        );
    }

    #[test]
    fn cuda_counts_the_devices_that_are_visible_in_their_order() {
        let cuda = |index, visible| Scope::among("fusion<cubecl<cuda>>", index, visible);
        assert_eq!(cuda(Some(1), None), Scope::Gpus(vec![Gpu::Index(1)]));
        let (three, by_name) = (Gpu::Index(3), Gpu::Uuid("GPU-89".into()));
        let visible = Some("3, GPU-89,-1,2");
        assert_eq!(
            cuda(None, visible),
            Scope::Gpus(vec![three, by_name.clone()])
        );
        assert_eq!(cuda(Some(1), visible), Scope::Gpus(vec![by_name]));
        assert_eq!(cuda(Some(2), visible), Scope::Gpus(vec![]));
        assert_eq!(cuda(None, Some("")), Scope::Gpus(vec![]));
    }
}
