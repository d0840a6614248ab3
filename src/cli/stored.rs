//! Opening and writing of models on disk.

use std::fmt::Display;
use std::path::Path;

use darkhorse_backends::select::Selected;

use crate::checkpoint::Run;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::config::Experiment;
use crate::model::dtype::Dtype;
use crate::model::weights::NamedTensor;
use crate::run::state::{MODEL_FILE, ORIGIN_FILE};
use crate::stored::{OpenError, Stored, StoredTokenizer};

/// Whether a run at `step` holds an imported or quantized model that was never trained here.
pub(crate) fn is_copy(run: &Run, step: u64) -> bool {
    // training always writes a journal
    let has_origin = run.path().join(ORIGIN_FILE).is_file();
    !run.metrics_path().is_file() && (has_origin || step == 0)
}

/// Whether a run without a checkpoint was to hold an imported or quantized model.
pub(crate) fn is_unfinished_copy(run: &Run) -> bool {
    !run.metrics_path().is_file() && run.path().join(ORIGIN_FILE).is_file()
}

/// Opens a run, a Hugging Face folder, or a `.safetensors`, `.ot` or `.gguf` file.
pub(crate) fn open(path: &Path) -> Result<Stored, OpenError> {
    Stored::open::<Selected>(path, None)
}

impl Stored {
    /// Refuses quantized weights; `done` names what cannot be done to them.
    pub(crate) fn refuse_blocks(&self, done: &str) -> Result<(), Failure> {
        match self.experiment.model.quantization {
            None => Ok(()),
            Some(quantization) => Err(Failure::input(format!(
                "the weights in {} are in blocks, {quantization:?}, and cannot be {done}: take the model that they were made from",
                self.weights.path().display()
            ))),
        }
    }

    /// Tells the user which quantized types the file holds, and what they are converted to: `dtype`, or the format that
    /// was asked for.
    pub(crate) fn tell_blocks(&self, dtype: impl Display, held: Option<Dtype>) {
        let Some(types) = &self.quantized else { return };
        let held = match (held, held.and_then(Dtype::quantization)) {
            (None, _) => String::new(),
            (Some(held), None) => {
                format!(
                    ", projections, experts and embeddings then held as {}",
                    held.name()
                )
            }
            (Some(_), Some(blocks)) => {
                let bits = blocks.bits().count();
                format!(", projections and experts then held in our own of {bits} bits")
            }
        };
        let path = self.weights.path().display();
        notice::tell(format_args!(
            "{path} holds {types}: blocks are read as {dtype}{held}"
        ));
    }

    /// Writes a run with this model's facts and the given weights. If that fails, no run is left behind.
    pub(crate) fn write_run(
        &self,
        folder: &Path,
        experiment: &Experiment,
        tensors: Vec<NamedTensor<'_>>,
    ) -> Result<(), Failure> {
        let (run, beginning) = Run::begin(folder, experiment, |run| {
            match &self.tokenizer {
                StoredTokenizer::Absent => {}
                StoredTokenizer::Read(tokenizer) => tokenizer.save(&run.tokenizer_path())?,
                StoredTokenizer::Unreadable(why) => {
                    let why = Failure::from(OpenError::UnreadableTokenizer(why.clone()));
                    notice::tell(format_args!(
                        "warning: {}; the run has no tokenizer",
                        why.line()
                    ));
                }
            }
            // keeps the facts that an export needs
            run.write_json(ORIGIN_FILE, &self.origin)?;
            Ok::<_, anyhow::Error>(())
        })
        .or_input()?;
        let saved = run.save(self.step, |writer| writer.tensors(MODEL_FILE, tensors));
        saved.or_input()?;
        beginning.keep();
        Ok(())
    }
}
