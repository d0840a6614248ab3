//! Experts that begin as copies of the dense feed-forward.

use super::{CalibrateArgs, command_line, conclude, digested, measures, write};
use crate::cli::failure::{Failure, OrInput};
use crate::stored::Stored;
use crate::surgery::calibration::{Parameters, Receipt};
use crate::surgery::upcycle::Upcycling;

/// Copies the feed-forwards of a stored model.
pub(super) fn execute(args: &CalibrateArgs, stored: &Stored) -> Result<(), Failure> {
    let dense = &stored.experiment.model;
    let upcycling = Upcycling {
        experts: args.experts(),
        top_k: args.top_k,
        dense: args.kept().of(dense.num_hidden_layers).or_input()?,
        drop: args.drop(),
        seed: args.seed,
    };
    let config = upcycling.config(dense).or_input()?;
    let (mut phases, energy_missing) = measures::phases(&args.device.open()?);
    let weights_blake3 = digested(stored, &mut phases)?;
    let weights = upcycling
        .source(stored.weights.as_ref(), dense)
        .or_input()?;
    phases.run("write", || write(stored, args, &config, &weights))?;
    let receipt = Receipt {
        command: command_line(),
        of: args.name(),
        weights_blake3,
        mode: args.mode.into(),
        experts: args.experts(),
        shared_experts: 0,
        top_k: args.top_k,
        dense_layers: upcycling.dense.iter().copied().collect(),
        drop: (upcycling.drop > 0.0).then_some(upcycling.drop),
        seed: args.seed,
        before: Parameters::of(dense),
        after: Parameters::of(&config),
        carving: None,
        speed_before: None,
        speed_after: None,
        phases: phases.done().to_vec(),
        energy_missing,
    };
    conclude(args, &receipt)
}
