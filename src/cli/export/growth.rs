//! Export of models with free places for experts, which other formats do not have.

use crate::cli::failure::Failure;
use crate::domain::Domain;
use crate::model::routing::domain::DomainMode;
use crate::model::weights::{InUse, Lines};
use crate::stored::Stored;

/// Removes the free places of experts, with the layout that `domain` needs. Other models are returned unchanged.
pub(super) fn settled(mut stored: Stored, domain: Option<Domain>) -> Result<Stored, Failure> {
    let moe = stored.experiment.model.moe.as_ref();
    if moe.and_then(|moe| moe.router.initial_experts).is_none() {
        return Ok(stored);
    }
    let path = stored.weights.path().to_path_buf();
    let (weights, mut model, lines) = InUse::new(stored.weights, &stored.experiment.model)
        .map_err(|error| {
            Failure::input(format!("{} cannot be exported: {error}", path.display()))
        })?;
    if lines == Lines::Unequal && model.domains.mode != DomainMode::Off {
        if domain.is_some() {
            return Err(Failure::input(format!(
                "`--domain` needs experts of one domain in all layers, and those of {} divided layer by layer: export it without",
                path.display()
            )));
        }
        model.domains.mode = DomainMode::Off;
    }
    stored.weights = Box::new(weights);
    stored.experiment.model = model;
    Ok(stored)
}
