//! Arguments of `calibrate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::recover::RecoverArgs;
use super::tasks::MeasuredTasks;
use crate::cli::args::{DeviceArgs, TokenizerArgs};
use crate::cli::failure::Failure;
use crate::cli::model_args::AdapterArgs;
use crate::cli::text::ReadingArgs;
use crate::stored::Stored;
use crate::surgery::calibration;
use crate::surgery::carve::{Division, RouterRule};
use crate::surgery::sparse::KeptDense;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis calibrate --from ./SmolLM2-135M --mode carve --data text/ --out runs/carved
  darkhorse-genesis calibrate --from model.gguf --mode carve --experts 8 --shared 2 --top-k 4 --data text/ \\
    --keep-dense-layers first,last --out runs/three-quarters
  darkhorse-genesis calibrate --from ./SmolLM2-135M --mode carve --data text/ --recover-steps 300 --out runs/recovered
  darkhorse-genesis calibrate --from ./SmolLM2-135M --mode carve --data text/ --tasks arc_easy,mine.yaml \\
    --task-data ~/data --out runs/measured
  darkhorse-genesis calibrate --from ./SmolLM2-135M --mode upcycle --experts 4 --out runs/four
  darkhorse-genesis calibrate --from model.gguf --mode drop-upcycle --experts 8 --drop 0.5 --out runs/eight

What was done, what it cost and what was lost on held-out text stand in receipt.json of the new run. A fifth of the \
documents is held out. An upcycled model computes what the dense one does until it is trained on: \
`train --init-from runs/four`.";

/// Turn a dense model into one with experts
///
/// `carve` divides the neurons of every feed-forward into shared and routed experts by which tokens of a text need
/// them, so that a token visits a part of the same weights. `upcycle` copies every feed-forward into experts that share
/// a token's gate, so that nothing changes until they are trained; `drop-upcycle` also draws a share of each expert's
/// dimensions anew, so that the experts differ from the start.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CalibrateArgs {
    /// Dense model: a run, a Hugging Face folder, a .safetensors, .ot or .gguf file
    #[arg(long, value_name = "PATH")]
    pub(crate) from: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// How the experts are made
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Mode,
    /// Experts per layer, shared ones included [default: 16 to carve, else 4]
    #[arg(long, value_name = "N")]
    experts: Option<usize>,
    /// Shared experts, which every token visits [default: 2 to carve, else 0]
    #[arg(long, value_name = "N")]
    shared: Option<usize>,
    /// Routed experts that a token visits
    #[arg(long, value_name = "K", default_value_t = 2)]
    pub(crate) top_k: usize,
    /// Layers that stay dense: first, last, numbers from 0, or none [default: first,last to carve, else none]
    #[arg(long, value_name = "LAYERS")]
    keep_dense_layers: Option<KeptDense>,
    /// How the routers of carved layers are found
    #[arg(long, value_name = "RULE", default_value = "ridge")]
    pub(crate) router: RouterName,
    /// How neurons are divided among the routed experts of carved layers
    #[arg(long, value_name = "RULE", default_value = "clustered")]
    pub(crate) partition: DivisionName,
    /// Share of an expert's dimensions that `drop-upcycle` draws anew [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    drop: Option<f64>,
    /// Seed of the routers, of the order of the text and of all that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Files or folders of documents to carve by; copies need none [default: none]
    #[arg(long, value_name = "PATH", num_args = 1.., required_if_eq("mode", "carve"))]
    pub(crate) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Tokens of the text to carve by, in rows of at most 1024
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub(crate) calibration_tokens: usize,
    #[command(flatten)]
    pub(crate) recover: RecoverArgs,
    #[command(flatten)]
    pub(crate) tasks: MeasuredTasks,
    /// Also measure, for every layer, the experts by true contribution, by representative neurons and by lot, and a
    /// random partition
    #[arg(long)]
    pub(crate) analyse: bool,
    /// Do not measure tokens per second, for which both models are loaded, one after the other
    #[arg(long)]
    pub(crate) no_speed: bool,
    /// Folder of the run to write
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// How the experts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Parts of the dense feed-forward
    Carve,
    /// Copies of the dense feed-forward
    Upcycle,
    /// Copies with some dimensions drawn anew
    DropUpcycle,
}

impl From<Mode> for calibration::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Carve => Self::Carve,
            Mode::Upcycle => Self::Upcycle,
            Mode::DropUpcycle => Self::DropUpcycle,
        }
    }
}

/// How the routers of carved layers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RouterName {
    /// Ridge regression of the experts' contributions on the input
    Ridge,
    /// Mean of the gate projection's columns of an expert's neurons
    GateWeights,
}

impl From<RouterName> for RouterRule {
    fn from(name: RouterName) -> Self {
        match name {
            RouterName::Ridge => Self::Ridge,
            RouterName::GateWeights => Self::GateWeights,
        }
    }
}

/// How neurons are divided among the routed experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DivisionName {
    /// Neurons that the same tokens need come together
    Clustered,
    /// By lot, as a baseline
    Random,
}

impl From<DivisionName> for Division {
    fn from(name: DivisionName) -> Self {
        match name {
            DivisionName::Clustered => Self::Clustered,
            DivisionName::Random => Self::Random,
        }
    }
}

impl CalibrateArgs {
    /// Refuses options that the mode does not use, and values out of range.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let Some(drop) = self.drop {
            if self.mode != Mode::DropUpcycle {
                return Err(Failure::input(
                    "`--drop` is for `--mode drop-upcycle`: leave it out",
                ));
            }
            if !(drop > 0.0 && drop <= 1.0) {
                return Err(Failure::input(format!(
                    "`--drop` is {drop}, expected a share above 0 and up to 1"
                )));
            }
        }
        self.recover.check()?;
        self.tasks.check(self.mode == Mode::Carve)?;
        if self.mode != Mode::Carve && self.recover.is_asked() {
            return Err(Failure::input(
                "`--recover-steps` and `--refit` are for `--mode carve`: copies compute what the dense model does, and are trained by `train --init-from`",
            ));
        }
        if self.mode != Mode::Carve && self.shared() > 0 {
            return Err(Failure::input(format!(
                "`--shared` is {}, expected 0: copies are all routed",
                self.shared()
            )));
        }
        Ok(())
    }

    /// Experts per layer, shared ones included.
    pub(crate) fn experts(&self) -> usize {
        let default = match self.mode {
            Mode::Carve => 16,
            Mode::Upcycle | Mode::DropUpcycle => 4,
        };
        self.experts.unwrap_or(default)
    }

    /// Shared experts.
    pub(crate) fn shared(&self) -> usize {
        let default = match self.mode {
            Mode::Carve => 2,
            Mode::Upcycle | Mode::DropUpcycle => 0,
        };
        self.shared.unwrap_or(default)
    }

    /// Opens the dense model.
    pub(crate) fn open(&self) -> Result<Stored, Failure> {
        let stored = self.adapter.open(&self.from)?;
        Ok(stored.with_tokenizer(self.tokenizer.tokenizer.as_deref())?)
    }

    /// Name of the dense model.
    pub(crate) fn name(&self) -> String {
        self.adapter.name(&self.from)
    }

    /// Share of an expert's dimensions that are drawn anew.
    pub(crate) fn drop(&self) -> f64 {
        match self.mode {
            Mode::Carve | Mode::Upcycle => 0.0,
            Mode::DropUpcycle => self.drop.unwrap_or(0.5),
        }
    }

    /// Layers that stay dense.
    pub(crate) fn kept(&self) -> KeptDense {
        let default = || match self.mode {
            Mode::Carve => KeptDense::ends(),
            Mode::Upcycle | Mode::DropUpcycle => KeptDense::none(),
        };
        self.keep_dense_layers.clone().unwrap_or_else(default)
    }
}
