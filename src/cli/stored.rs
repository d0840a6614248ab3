//! Models on disk, as the program opens and writes them.

use std::fmt::Display;
use std::path::Path;

use darkhorse_backends::select::Selected;

use crate::checkpoint::Run;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::notice;
use crate::config::Experiment;
use crate::model::matrix::Quantization;
use crate::model::weights::NamedTensor;
use crate::run::state::{MODEL_FILE, ORIGIN_FILE};
use crate::stored::{OpenError, Stored, StoredTokenizer};

/// Whether a run that has come to `step` holds another model's weights as they were, imported or quantized: it was
/// not trained.
pub(crate) fn is_copy(run: &Run, step: u64) -> bool {
    // whatever trains begins a journal
    let has_origin = run.path().join(ORIGIN_FILE).is_file();
    !run.metrics_path().is_file() && (has_origin || step == 0)
}

/// Whether a run without a checkpoint was to hold another model's weights as they were.
pub(crate) fn is_unfinished_copy(run: &Run) -> bool {
    !run.metrics_path().is_file() && run.path().join(ORIGIN_FILE).is_file()
}

/// Opens a run, a Hugging Face folder, a `.safetensors` or a `.gguf` file.
pub(crate) fn open(path: &Path) -> Result<Stored, OpenError> {
    open_with(path, None)
}

/// Opens a model with the LoRA adapter in the folder `adapter`, if one is named.
pub(crate) fn open_with(path: &Path, adapter: Option<&Path>) -> Result<Stored, OpenError> {
    Stored::open::<Selected>(path, adapter)
}

impl Stored {
    /// Refuses weights in blocks, which cannot be `done` something to.
    pub(crate) fn refuse_blocks(&self, done: &str) -> Result<(), Failure> {
        match self.experiment.model.quantization {
            None => Ok(()),
            Some(quantization) => Err(Failure::input(format!(
                "the weights in {} are in blocks, {quantization:?}, and cannot be {done}: take the model that they were made from",
                self.weights.path().display()
            ))),
        }
    }

    /// Says which blocks another format's file holds, if any, and what is made of them: numbers of `dtype`, and blocks
    /// of our own.
    pub(crate) fn tell_blocks(&self, dtype: impl Display, blocks: Option<Quantization>) {
        let Some(types) = &self.quantized else { return };
        let path = self.weights.path().display();
        match blocks {
            None => notice::tell(format_args!(
                "{path} holds {types}: blocks are read as {dtype}"
            )),
            Some(blocks) => notice::tell(format_args!(
                "{path} holds {types}: blocks are read as {dtype}, projections and experts then held in our own of {} bits",
                blocks.bits().count()
            )),
        }
    }

    /// Writes a run of weights that are this model's, or are made from them. If they cannot be written there is none.
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
            // so that it is exported as this one is
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
