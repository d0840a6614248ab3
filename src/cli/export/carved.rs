//! Export of carved models, whose gates other formats do not have.

use crate::cli::failure::Failure;
use crate::stored::Stored;
use crate::surgery::carve::EqualGates;

/// Gives carved routers the nearest form that other formats have. Other models are returned unchanged.
pub(super) fn with_equal_gates(mut stored: Stored) -> Result<Stored, Failure> {
    if !EqualGates::concerns(&stored.experiment.model) {
        return Ok(stored);
    }
    let path = stored.weights.path().to_path_buf();
    let converted = EqualGates::new(stored.weights, &stored.experiment.model);
    let (weights, model) = converted.map_err(|error| {
        Failure::input(format!("{} cannot be exported: {error}", path.display()))
    })?;
    stored.weights = Box::new(weights);
    stored.experiment.model = model;
    Ok(stored)
}
