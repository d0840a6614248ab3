//! Experts that are parts of the dense feed-forward.

use std::time::Instant;

use darkhorse_backends::select::Selected;

use super::recover::recover;
use super::tasks::scores;
use super::texts::Texts;
use super::{CalibrateArgs, command_line, conclude, digested, measures, record, write};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::model::weights::WeightSource;
use crate::stored::Stored;
use crate::surgery::calibration::{Carving as Record, Parameters, Receipt};
use crate::surgery::carve::{self, Carving, LayerRecord, Slices};
use crate::surgery::sparse::SparseSource;

/// Carves a stored model.
pub(super) fn execute(args: &CalibrateArgs, stored: &Stored) -> Result<(), Failure> {
    let dense = &stored.experiment.model;
    let carving = Carving {
        experts: args.experts(),
        shared: args.shared(),
        top_k: args.top_k,
        dense: args.kept().of(dense.num_hidden_layers).or_input()?,
        router: args.router.into(),
        division: args.partition.into(),
        seed: args.seed,
        analyse: args.analyse,
    };
    let config = carving.config(dense).or_input()?;
    let tasks = args.tasks.open()?;
    let device = args.device.open()?;
    let (mut phases, energy_missing) = measures::phases(&device);
    let texts = phases.run("tokenize", || Texts::read(args, stored))?;
    let weights_blake3 = digested(stored, &mut phases)?;

    let begin = Instant::now();
    let told = |record: &LayerRecord| {
        notice::tell(format_args!(
            "layer {:>3}/{}  error {:.4}  recall {:.3}  {:.0} s{}",
            record.layer,
            dense.num_hidden_layers - 1,
            record.quality.error,
            record.quality.recall,
            begin.elapsed().as_secs_f64(),
            analysis(record)
        ));
    };
    let rows = carve::Texts {
        calibration: &texts.calibration,
        held_out: &texts.held_out,
    };
    let source = stored.weights.as_ref();
    let carved =
        carve::carve::<Selected>(&carving, dense, source, rows, &device, &mut phases, told);
    let carved = carved.or_input()?;
    let layers: Vec<usize> = carved.layers.keys().copied().collect();
    let weights = SparseSource::new(source, layers, Slices::new(source, carved.layers));
    let recovered = recover(
        (&args.recover, args.seed),
        stored,
        (&config, &weights),
        &texts,
        (&device, &mut phases),
    )?;
    phases.run("write", || match &recovered {
        Some(recovered) => write(stored, args, &config, recovered.weights.as_ref()),
        None => write(stored, args, &config, &weights),
    })?;

    let mut receipt = Receipt {
        command: command_line(),
        of: args.name(),
        weights_blake3,
        mode: args.mode.into(),
        experts: carving.experts,
        shared_experts: carving.shared,
        top_k: carving.top_k,
        dense_layers: carving.dense.iter().copied().collect(),
        drop: None,
        seed: args.seed,
        before: Parameters::of(dense),
        after: Parameters::of(&config),
        carving: Some(Record {
            router: carving.router,
            partition: carving.division,
            calibration_tokens: texts.calibration_tokens(),
            layers: carved.records,
            dense: carved.dense,
            carved: carved.carved,
            recovery: recovered.as_ref().map(|it| it.record.clone()),
            recovered: recovered.as_ref().and_then(|it| it.loss.clone()),
            tasks: None,
        }),
        speed_before: None,
        speed_after: None,
        phases: phases.done().to_vec(),
        energy_missing,
    };
    // the model stands already, and both models may not fit where one layer at a time did
    record(args, &receipt)?;
    let weighted = recovered.as_ref().map(|it| (&config, it.weights.as_ref()));
    let models = ((&config, &weights as &dyn WeightSource), weighted);
    let measured = scores(args, &tasks, stored, models, &mut phases)?;
    if let (Some(measured), Some(carving)) = (measured, &mut receipt.carving) {
        carving.tasks = Some(measured);
        receipt.phases = phases.done().to_vec();
        record(args, &receipt)?;
    }
    if let Some([before, after]) = measures::speeds(args, stored, &mut phases)? {
        (receipt.speed_before, receipt.speed_after) = (Some(before), Some(after));
        receipt.phases = phases.done().to_vec();
    }
    conclude(args, &receipt)
}

/// Errors of other choices, if they were measured.
fn analysis(record: &LayerRecord) -> String {
    let Some(other) = &record.analysis else {
        return String::new();
    };
    format!(
        "  oracle {:.4}  representative {:.4}  random {:.4}  random partition {:.4}",
        other.oracle.error,
        other.representative.error,
        other.random.error,
        other.random_partition.error
    )
}
