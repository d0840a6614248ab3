//! Replacement for archives in programs without libtorch.

use std::convert::Infallible;
use std::path::Path;

use super::no_libtorch;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// An archive, which cannot exist without libtorch.
#[derive(Debug)]
pub(in crate::interop) struct Archive(Infallible);

impl Archive {
    pub(in crate::interop) fn open(path: &Path) -> Result<Self, InteropError> {
        Err(no_libtorch(path))
    }
}

pub(super) fn save(_: &dyn TensorSource, path: &Path) -> Result<(), InteropError> {
    Err(no_libtorch(path))
}

impl TensorSource for Archive {
    fn names(&self) -> Vec<String> {
        match self.0 {}
    }

    fn info(&self, _: &str) -> Option<TensorInfo> {
        match self.0 {}
    }

    fn tensor(&self, _: &str) -> Result<RawTensor<'_>, InteropError> {
        match self.0 {}
    }
}
