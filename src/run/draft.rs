//! A run whose text has been read and tokenized, with nothing on disk yet.

use std::path::Path;
use std::sync::Arc;

use super::error::RunError;
use super::texts::{Corpora, Texts, Validation};
use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::data::{Corpus, LeftOut, Progress, Skipped};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::Day;

/// An experiment with its tokenized text, before its run's folder is made. The text bounds the length of rows and
/// gives the number of steps per epoch.
#[derive(Debug)]
pub struct Draft {
    /// The experiment; settings that depend on the text may still be changed.
    pub experiment: Experiment,
    /// The run's tokenizer.
    pub tokenizer: Tokenizer,
    /// Facts from the files of the model that is fine-tuned, if there is one.
    pub(super) origin: Option<serde_json::Value>,
    /// The tokenized text.
    pub texts: TokenizedTexts,
}

/// The tokenized text of a run, with its origin and statistics.
#[derive(Debug, Clone)]
pub struct TokenizedTexts {
    /// The training text.
    pub train: Arc<Corpus>,
    /// The validation text, if there is any.
    pub valid: Option<Arc<Corpus>>,
    /// Where the validation text comes from.
    pub validation: Validation,
    /// Invalid documents that were skipped, as the experiment asks for.
    pub skipped: Skipped,
    /// Files in the data folders that are not data.
    pub left_out: LeftOut,
    /// Tokens per epoch: those of all documents that the mix draws from, with their special tokens.
    pub epoch_tokens: u64,
    /// The requested row length in tokens, if the text is shorter than that.
    pub shortened_from: Option<usize>,
}

/// The parts of a model that a fine-tuning run starts from, besides its weights.
#[derive(Debug)]
pub struct Given {
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    /// Content of [`ORIGIN_FILE`](super::state::ORIGIN_FILE): facts that the model's files state beside it.
    pub origin: serde_json::Value,
}

impl Draft {
    /// Reads and tokenizes the text, with the tokenizer in `given` or else the experiment's.
    ///
    /// # Errors
    ///
    /// The text or the tokenizer cannot be used.
    pub fn open(
        mut experiment: Experiment,
        given: Option<Given>,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        if given.is_none() && experiment.training.lora.is_some() {
            return Err(RunError::NothingToAdapt);
        }
        experiment.data.settle_valid_share();
        let texts = Texts::open(&experiment, cache)?;
        let (tokenizer, origin) = match given {
            Some(given) => (given.tokenizer, Some(given.origin)),
            None => (texts.tokenizer(&experiment)?, None),
        };
        let draft = Self::new(experiment, &texts, tokenizer, (cache, progress))?;
        Ok(Self { origin, ..draft })
    }

    /// Reads the text of an existing run, with its tokenizer.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn of_run(
        experiment: Experiment,
        run: &Run,
        cache: &Path,
        progress: Progress,
    ) -> Result<Self, RunError> {
        let tokenizer = Tokenizer::from_file(&run.tokenizer_path())?;
        let texts = Texts::open(&experiment, cache)?;
        Self::new(experiment, &texts, tokenizer, (cache, progress))
    }

    fn new(
        mut experiment: Experiment,
        texts: &Texts,
        tokenizer: Tokenizer,
        (cache, progress): (&Path, Progress),
    ) -> Result<Self, RunError> {
        check(&experiment, &tokenizer)?;
        // the date must stay the same when the run resumes
        experiment.data.day = Day::of_data(experiment.data.day, &tokenizer);
        let corpora = texts.corpora(&tokenizer, experiment.data.day, (cache, progress))?;
        let epoch_tokens = corpora.train.tokens_of(&experiment.data.mix()?)?;
        let shortened_from = shorten_rows(&mut experiment, epoch_tokens);
        let Corpora {
            train,
            valid,
            validation,
            skipped,
        } = corpora;
        let left_out = texts.left_out();
        Ok(Self {
            experiment,
            tokenizer,
            origin: None,
            texts: TokenizedTexts {
                train,
                valid,
                validation,
                skipped,
                left_out,
                epoch_tokens,
                shortened_from,
            },
        })
    }
}

impl TokenizedTexts {
    /// Number of passes over the training text that `tokens` amount to.
    pub fn epochs(&self, tokens: u64) -> f64 {
        tokens as f64 / self.epoch_tokens.max(1) as f64
    }
}

/// Shortens rows to the length of the text if it does not fill one, but not below the model's minimum. Returns the
/// requested length if it changed.
fn shorten_rows(experiment: &mut Experiment, tokens: u64) -> Option<usize> {
    let asked = experiment.training.seq_len;
    let shortest = experiment.shortest_row();
    let possible = usize::try_from(tokens).unwrap_or(usize::MAX).max(shortest);
    (possible < asked).then(|| {
        experiment.training.seq_len = possible;
        asked
    })
}

fn check(experiment: &Experiment, tokenizer: &Tokenizer) -> Result<(), RunError> {
    if experiment.model.quantization.is_some() {
        return Err(RunError::InBlocks);
    }
    let model = &experiment.model;
    if tokenizer.vocab_size() > model.vocab_size {
        return Err(RunError::Vocabulary {
            tokenizer: tokenizer.vocab_size(),
            model: model.vocab_size,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An experiment on 100 documents of one domain, with nothing said of validation.
    fn experiment(folder: &Path) -> Experiment {
        let line =
            |number| format!("{{\"text\": \"text number {number}\", \"domain\": \"code\"}}\n");
        let file = folder.join("mine.jsonl");
        std::fs::write(&file, (0..100).map(line).collect::<String>()).expect("a folder");
        let mut experiment = Experiment::preset("tiny").expect("a preset");
        experiment.data.train = vec![file];
        experiment
    }

    #[test]
    fn a_new_run_holds_out_a_share_and_one_from_before_there_was_a_share_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cache, bytes) = (folder.path().join("cache"), Tokenizer::bytes());
        let begun = experiment(folder.path());
        let run = |name: &str| {
            let run = Run::create(folder.path().join(name), &serde_json::json!({}), None)
                .expect("a folder");
            bytes.save(&run.tokenizer_path()).expect("a folder");
            run
        };
        let old = Draft::of_run(begun.clone(), &run("old"), &cache, Progress::Hidden);
        let old = old.expect("the text is sound");
        assert_eq!(old.texts.validation, Validation::Unwanted);
        assert_eq!(
            (old.texts.train.len(), old.experiment.data.valid_share),
            (100, None)
        );

        let given = Given {
            tokenizer: bytes.clone(),
            origin: serde_json::Value::Null,
        };
        let new = Draft::open(begun, Some(given), &cache, Progress::Hidden);
        let new = new.expect("the text is sound");
        assert_eq!(new.texts.validation, Validation::HeldOut(0.02));
        let held = new.texts.valid.expect("some are held out").len();
        assert_eq!(new.texts.train.len() + held, 100);
        // the recorded share holds when the run resumes
        assert_eq!(new.experiment.data.valid_share, Some(0.02));
        let resumed = Draft::of_run(new.experiment, &run("new"), &cache, Progress::Hidden);
        let resumed = resumed.expect("the text is sound").texts;
        assert_eq!(resumed.train.digest(), new.texts.train.digest());
    }

    #[test]
    fn a_run_remembers_the_day_that_its_template_was_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("cache");
        let template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}";
        let tokenizer = Tokenizer::bytes().with_chat_template(template);
        let tokenizer = tokenizer.expect("the template is text");
        let line = r#"{"messages": [{"role": "user", "content": "which day?"}, {"role": "assistant", "content": "this one"}]}"#;
        let file = folder.path().join("mine.jsonl");
        std::fs::write(&file, format!("{line}\n")).expect("a folder");
        let mut experiment = Experiment::preset("tiny").expect("a preset");
        experiment.data.train = vec![file];
        let open = |experiment: Experiment| {
            let given = Given {
                tokenizer: tokenizer.clone(),
                origin: serde_json::Value::Null,
            };
            let draft = Draft::open(experiment, Some(given), &cache, Progress::Hidden);
            draft.expect("the text is sound")
        };
        assert_eq!(
            open(experiment.clone()).experiment.data.day,
            Some(Day::today())
        );
        // a run that began on an earlier day
        experiment.data.day = Some("2024-02-29".parse().expect("a day"));
        let begun = open(experiment.clone());
        assert_eq!(begun.experiment.data.day, experiment.data.day);
        let run = Run::create(folder.path().join("run"), &begun.experiment, None);
        let run = run.expect("a folder");
        tokenizer.save(&run.tokenizer_path()).expect("a folder");
        let resumed = Draft::of_run(begun.experiment, &run, &cache, Progress::Hidden);
        let resumed = resumed.expect("the text is sound").texts;
        assert_eq!(resumed.train.digest(), begun.texts.train.digest());
        let document = resumed.train.document(0).expect("it is there");
        assert!(
            tokenizer
                .decode(&document.tokens)
                .starts_with("29 Feb 2024")
        );
    }

    #[test]
    fn rows_are_no_longer_than_the_text_and_no_shorter_than_the_model_needs() {
        let mut experiment = Experiment::preset("tiny").expect("a preset");
        assert_eq!(shorten_rows(&mut experiment, 256), None);
        assert_eq!(shorten_rows(&mut experiment, 60), Some(256));
        assert_eq!(experiment.training.seq_len, 60);
        // a token, its successor, and one more for the MTP module
        assert_eq!(shorten_rows(&mut experiment, 1), Some(60));
        assert_eq!(experiment.training.seq_len, 3);
    }
}
