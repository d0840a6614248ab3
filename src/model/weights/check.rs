//! Checks that weights fit a module, without reading them.

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::load::{check_names, shapes};
use super::{WeightError, WeightSource};

/// Compares names, shapes and types of a source's tensors with a module's parameters. Initializes and reads nothing.
///
/// # Errors
///
/// [`WeightError::Missing`], [`WeightError::Unexpected`], and the errors of [`WeightSource::check`].
pub fn check<B: Backend, M: Module<B>>(
    module: &M,
    source: &dyn WeightSource,
) -> Result<(), WeightError> {
    let expected = shapes(module);
    check_names(&expected, source)?;
    let mut tensors = expected.iter();
    tensors.try_for_each(|(name, shape)| source.check(name, shape))
}
