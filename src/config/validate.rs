//! Validation of an experiment, and of the relations between its sections.

use std::fmt::Display;

use serde_json::Value;

use super::error::ConfigError;
use super::{DataConfig, Experiment, TokenizerConfig, growth};
use crate::model::ModelConfig;
use crate::training::{OutOfRange, TrainingConfig};

/// Upper bound of every size in a model; keeps sums of sizes from overflowing.
const LARGEST_SIZE: u64 = u32::MAX as u64;

/// Upper bound of the number of layers, since a plan has one entry per layer.
const MOST_LAYERS: usize = 10_000;

pub(super) fn experiment(experiment: &Experiment) -> Result<(), ConfigError> {
    let Experiment {
        model,
        tokenizer,
        data: documents,
        training: run,
    } = experiment;
    sizes(model)?;
    model
        .validate()
        .map_err(|error| ConfigError::Model(error.within("model")))?;
    run.validate().map_err(|error| error.within("training"))?;
    moving_bias(model, run)?;
    growth::validate(run, model)?;
    data(documents)?;
    check(
        run.seq_len <= model.max_position_embeddings,
        "training.seq_len",
        run.seq_len,
        format!(
            "at most `model.max_position_embeddings` = {}",
            model.max_position_embeddings
        ),
    )?;
    let shortest = experiment.shortest_row();
    check(
        run.seq_len >= shortest,
        "training.seq_len",
        run.seq_len,
        format!("at least {shortest}: a token, the next one, and one per MTP module"),
    )?;
    match tokenizer {
        TokenizerConfig::Train {
            vocab_size: Some(size),
        } => check(
            *size <= model.vocab_size,
            "tokenizer.train.vocab_size",
            size,
            format!("at most `model.vocab_size` = {}", model.vocab_size),
        ),
        TokenizerConfig::Train { vocab_size: None } | TokenizerConfig::File(_) => Ok(()),
    }
}

/// Bounds every integer of the model, so that arithmetic on validated ones is safe.
fn sizes(model: &ModelConfig) -> Result<(), ConfigError> {
    fn walk(value: &Value, path: &str) -> Result<(), ConfigError> {
        match value {
            Value::Number(number) => {
                let fits = number.as_u64().is_none_or(|size| size <= LARGEST_SIZE);
                check(fits, path, number, format!("at most {LARGEST_SIZE}"))
            }
            Value::Object(section) => section
                .iter()
                .try_for_each(|(key, value)| walk(value, &format!("{path}.{key}"))),
            _ => Ok(()),
        }
    }
    let layers = model.num_hidden_layers;
    let expected = format!("at most {MOST_LAYERS}");
    check(
        layers <= MOST_LAYERS,
        "model.num_hidden_layers",
        layers,
        expected,
    )?;
    walk(
        &serde_json::to_value(model).map_err(ConfigError::Write)?,
        "model",
    )
}

/// Checks that the routing bias moves: it keeps the number of visited experts at `k_target` when there are null
/// experts.
fn moving_bias(model: &ModelConfig, training: &TrainingConfig) -> Result<(), ConfigError> {
    let null = model.moe.as_ref().map_or(0, |moe| moe.router.null_experts);
    if null == 0 {
        return Ok(());
    }
    let why = format!("the bias holds `model.moe.router.null_experts` = {null} to `k_target`");
    let (speed, frozen) = (training.bias_update_speed, training.bias_freeze);
    check(
        speed > 0.0 || training.bias_update_start > 0.0,
        "training.bias_update_speed",
        speed,
        format!("a positive number: {why}"),
    )?;
    let path = "training.bias_freeze";
    check(frozen < 1.0, path, frozen, format!("below 1: {why}"))
}

fn data(data: &DataConfig) -> Result<(), ConfigError> {
    fraction("data.domain_dropout", data.domain_dropout)?;
    if let Some(share) = data.valid_share {
        let holds = (0.0..=0.5).contains(&share);
        check(holds, "data.valid_share", share, "0 to 0.5")?;
    }
    for (domain, &share) in &data.mix {
        fraction(&format!("data.mix.{domain}"), share)?;
    }
    let sum: f64 = data.mix.values().sum();
    let expected = "shares that sum to 1 at most";
    check(
        sum <= 1.0 + 1e-6,
        "data.mix",
        format!("{sum} in sum"),
        expected,
    )
}

fn fraction(path: &str, value: f64) -> Result<(), ConfigError> {
    Ok(OutOfRange::fraction(path, value)?)
}

pub(super) fn check(
    holds: bool,
    path: &str,
    value: impl Display,
    expected: impl Into<String>,
) -> Result<(), ConfigError> {
    Ok(OutOfRange::check(holds, path, value, expected)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Domain;

    fn message(change: impl FnOnce(&mut Experiment)) -> String {
        let mut experiment = Experiment::preset("tiny").unwrap();
        change(&mut experiment);
        experiment.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_model_is_checked_by_its_full_path() {
        assert_eq!(
            message(|e| e.model.moe.as_mut().unwrap().num_experts_per_tok = 21),
            "`model.moe.num_experts_per_tok` is 21, expected 1 to 20"
        );
    }

    #[test]
    fn null_experts_need_a_bias_that_moves() {
        let message = |change: fn(&mut TrainingConfig)| {
            let mut experiment = Experiment::preset("genesis-moe-tiny").unwrap();
            change(&mut experiment.training);
            experiment.validate().unwrap_err().to_string()
        };
        let why = "the bias holds `model.moe.router.null_experts` = 2 to `k_target`";
        let resting = message(|training| {
            training.bias_update_speed = 0.0;
            training.bias_update_start = 0.0;
        });
        assert_eq!(
            resting,
            format!("`training.bias_update_speed` is 0, expected a positive number: {why}")
        );
        assert_eq!(
            message(|training| training.bias_freeze = 1.0),
            format!("`training.bias_freeze` is 1, expected below 1: {why}")
        );
    }

    #[test]
    fn a_row_must_fit_the_positions_and_feed_every_mtp_module() {
        assert_eq!(
            message(|e| e.training.seq_len = 1025),
            "`training.seq_len` is 1025, expected at most `model.max_position_embeddings` = 1024"
        );
        assert_eq!(
            message(|e| e.training.seq_len = 2),
            "`training.seq_len` is 2, expected at least 3: a token, the next one, and one per MTP module"
        );
    }

    #[test]
    fn a_trained_tokenizer_must_fit_the_embedding() {
        assert_eq!(
            message(|e| e.tokenizer = TokenizerConfig::Train {
                vocab_size: Some(2049)
            }),
            "`tokenizer.train.vocab_size` is 2049, expected at most `model.vocab_size` = 2048"
        );
    }

    #[test]
    fn the_training_is_checked_by_its_full_path() {
        assert_eq!(
            message(|e| e.training.betas[1] = 1.0),
            "`training.betas[1]` is 1, expected at least 0 and below 1"
        );
    }

    #[test]
    fn the_mix_cannot_give_more_than_all() {
        assert_eq!(
            message(|e| e
                .data
                .mix
                .extend([(Domain::Code, 0.75), (Domain::Legal, 0.5)])),
            "`data.mix` is 1.25 in sum, expected shares that sum to 1 at most"
        );
        assert_eq!(
            message(|e| e.data.mix.extend([(Domain::Code, -0.5)])),
            "`data.mix.code` is -0.5, expected 0 to 1"
        );
    }

    #[test]
    fn validation_takes_half_of_the_documents_at_most() {
        assert_eq!(
            message(|e| e.data.valid_share = Some(0.75)),
            "`data.valid_share` is 0.75, expected 0 to 0.5"
        );
        assert!(message(|e| e.data.valid_share = Some(f64::NAN)).contains("is NaN"));
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_computed_with_them() {
        assert_eq!(
            message(|e| e.model.num_hidden_layers = usize::MAX),
            format!(
                "`model.num_hidden_layers` is {}, expected at most 10000",
                usize::MAX
            )
        );
        assert_eq!(
            message(|e| e.model.mixer.mla.as_mut().unwrap().qk_nope_head_dim = usize::MAX),
            format!(
                "`model.mixer.mla.qk_nope_head_dim` is {}, expected at most 4294967295",
                usize::MAX
            )
        );
    }
}
