//! Time, energy and speed of a conversion.

use burn::tensor::backend::{Backend, DeviceOps};
use darkhorse_backends::select::{Device, Selected};

use super::CalibrateArgs;
use crate::cli::bench::speed_of;
use crate::cli::failure::Failure;
use crate::cli::model::Loaded;
use crate::model::dtype::Dtype;
use crate::stored::Stored;
use crate::surgery::calibration::Speed;
use crate::surgery::sparse::Phases;
use crate::telemetry::energy::{Meters, Monitor, Scope};

/// Starts the stopwatch and the energy meters of the backend's devices; also returns why there are none.
pub(super) fn phases(device: &Device) -> (Phases, Option<String>) {
    let backend = Selected::name(device);
    let scope = Scope::of_backend(&backend, Some(device.id().index_id.into()));
    match Meters::of_machine(&scope) {
        Ok((meters, _)) => (Phases::new(Some(Monitor::start(meters))), None),
        Err(missing) => (Phases::new(None), Some(missing.to_string())),
    }
}

/// Speeds of the dense model and of the one in the new run, loaded one after the other; `None` if they are not to be
/// measured. Weights of 16 bits are held so.
pub(super) fn speeds(
    args: &CalibrateArgs,
    stored: &Stored,
    phases: &mut Phases,
) -> Result<Option<[Speed; 2]>, Failure> {
    if args.no_speed {
        return Ok(None);
    }
    let device = args.device.open()?;
    let held = (stored.quantized.is_none() && is_narrow(stored)).then_some(Dtype::Bf16);
    phases.run("speed", || {
        let before = speed_of(&Loaded::load(stored, held, &device)?)?;
        let after = Stored::open::<Selected>(&args.out, None)?;
        let after = speed_of(&Loaded::load(&after, held, &device)?)?;
        Ok(Some([before, after]))
    })
}

/// Whether the projections are stored in 16 bits.
fn is_narrow(stored: &Stored) -> bool {
    let name = "layers.0.feed_forward.gate_proj.weight";
    stored
        .weights
        .dtype(name)
        .is_some_and(|dtype| dtype.size() == 2)
}
