//! Checks that experts which divide by mitosis have free places to divide into.

use super::error::ConfigError;
use super::validate::check;
use crate::model::ModelConfig;
use crate::training::TrainingConfig;
use crate::training::mitosis::Mode;

pub(super) fn validate(training: &TrainingConfig, model: &ModelConfig) -> Result<(), ConfigError> {
    let Some(mitosis) = &training.mitosis else {
        return Ok(());
    };
    let moe = model.moe.as_ref();
    let Some((places, initial)) =
        moe.and_then(|moe| Some((moe.n_routed_experts, moe.router.initial_experts?)))
    else {
        return Err(ConfigError::NoPlaces {
            experts: moe.map(|moe| moe.n_routed_experts),
        });
    };
    let Mode::Schedule(schedule) = &mitosis.mode else {
        return Ok(());
    };
    let doublings = (places / initial).ilog2() as usize;
    check(
        (1..=doublings).contains(&schedule.at.len()),
        "training.mitosis.mode.schedule.at",
        format!("a list of {}", schedule.at.len()),
        format!("1 to {doublings}: {initial} experts double into {places} places"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::Experiment;

    /// Error of a schedule of 800 steps with 8 initial experts in 16 places, or an empty text if it is valid.
    fn message(mitosis: serde_json::Value) -> String {
        let mut experiment = Experiment::preset("deepseek-tiny").unwrap();
        let moe = experiment.model.moe.as_mut().unwrap();
        moe.n_routed_experts = 16;
        moe.router.initial_experts = Some(8);
        experiment.training.steps = 800;
        experiment.training.mitosis = Some(serde_json::from_value(mitosis).unwrap());
        match experiment.validate() {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_schedule_fits_the_places_and_the_steps() {
        let schedule = |at: &[u64]| {
            message(json!({"mode": {"schedule": {"at": at}}, "hold_steps": 100, "fade_steps": 100}))
        };
        assert_eq!(schedule(&[400]), "");
        assert_eq!(
            schedule(&[100, 400]),
            "`training.mitosis.mode.schedule.at` is a list of 2, expected 1 to 1: 8 experts double into 16 places"
        );
        assert_eq!(
            schedule(&[700]),
            "`training.mitosis.mode.schedule.at[0]` is 700, expected 1 to 600: siblings grow apart for 200 steps, \
             `hold_steps` and `fade_steps`, and the run has 800"
        );
        assert!(schedule(&[]).contains("a list of 0"));
    }

    #[test]
    fn siblings_hold_apart_for_a_step_at_least() {
        let message = message(json!({"mode": {"stress": {}}, "hold_steps": 0}));
        assert!(message.starts_with("`training.mitosis.hold_steps` is 0, expected at least 1"));
    }

    #[test]
    fn mitosis_needs_places() {
        let mut experiment = Experiment::preset("deepseek-tiny").unwrap();
        experiment.training.mitosis =
            Some(serde_json::from_value(json!({"mode": {"stress": {}}})).unwrap());
        let message = experiment.validate().unwrap_err().to_string();
        assert!(
            message.starts_with("`training.mitosis` needs `model.moe.router.initial_experts`"),
            "{message}"
        );
        experiment
            .model
            .moe
            .as_mut()
            .unwrap()
            .router
            .initial_experts = Some(100);
        let message = experiment.validate().unwrap_err().to_string();
        assert!(message.starts_with("`model.moe.router.initial_experts` is 100, expected"));
    }
}
