//! Which devices of the machine are counted.

/// The devices that a backend computes on. The processor is always one of them: it feeds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The processor alone.
    Processor,
    /// The processor and every NVIDIA device.
    AllGpus,
    /// The processor and these NVIDIA devices.
    Gpus(Vec<Gpu>),
}

/// Names an NVIDIA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpu {
    /// By number.
    Index(u32),
    /// By the beginning of its unique name, as in `GPU-8932f937`.
    Uuid(String),
}

impl Scope {
    /// The devices of a backend and, for CUDA, the number of its device, as the environment has it.
    pub fn of_backend(backend: &str, index: Option<u32>) -> Self {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        Self::among(backend, index, visible.as_deref())
    }

    /// `visible` is the value of `CUDA_VISIBLE_DEVICES`: CUDA numbers the devices that stand there, from 0.
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

    /// Whether an NVIDIA device is counted.
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

/// As CUDA reads it: up to the first entry that names no device.
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
