//! The compared experiments, which differ in their routers only.

use darkhorse_genesis::config::{ConfigError, Experiment};
use darkhorse_genesis::model::routing::balance::quantile::QuantileRule;
use darkhorse_genesis::model::routing::balance::{AuxiliaryRule, Rule};
use darkhorse_genesis::model::routing::codons::{CodonConfig, CodonMode};
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::training::schedule::ScheduleConfig;

/// An experiment; its name is also that of its folders.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) experiment: Experiment,
}

/// Mixtures with equal active parameters, each balanced as in its family.
pub(crate) fn families(steps: u64) -> Result<Vec<Arm>, ConfigError> {
    let arm = |preset: &str| {
        let experiment = of_length(Experiment::preset(preset)?, steps);
        Ok(Arm {
            name: preset.to_owned(),
            experiment,
        })
    };
    let presets = ["mixtral-tiny", "deepseek-tiny", "genesis-moe-tiny"];
    presets.into_iter().map(arm).collect()
}

/// One model under each balancing rule. Domains are off, since the auxiliary loss has only one target, the even load.
pub(crate) fn rules(preset: &str, steps: u64) -> Result<Vec<Arm>, ConfigError> {
    let quantile = |smoothing| Rule::Quantile(QuantileRule { smoothing });
    let rules = [
        ("sign", Rule::Sign),
        ("quantile-0", quantile(0.0)),
        ("quantile-0.5", quantile(0.5)),
        ("quantile-0.9", quantile(0.9)),
        (
            "auxiliary-0.01",
            Rule::Auxiliary(AuxiliaryRule { alpha: 0.01 }),
        ),
    ];
    let arm = |(name, rule)| {
        let mut experiment = of_length(Experiment::preset(preset)?, steps);
        experiment.model.domains.mode = DomainMode::Off;
        if let Some(moe) = &mut experiment.model.moe {
            moe.router.balance = rule;
        }
        experiment.validate()?;
        Ok(Arm {
            name: format!("{preset}-{name}"),
            experiment,
        })
    };
    rules.into_iter().map(arm).collect()
}

/// A mixture whose routed experts are more than 60 % of the weights that a token reads, without and with null
/// experts.
pub(crate) fn null_experts(steps: u64) -> Result<Vec<Arm>, ConfigError> {
    let arm = |(name, null_experts, k_target): (&str, usize, Option<f64>)| {
        let mut experiment = of_length(Experiment::preset("deepseek-tiny")?, steps);
        experiment.model.first_k_dense_replace = 0;
        if let Some(moe) = &mut experiment.model.moe {
            moe.moe_intermediate_size = 128;
            moe.n_shared_experts = 0;
            moe.router.null_experts = null_experts;
            moe.router.k_target = k_target;
        }
        experiment.validate()?;
        Ok(Arm {
            name: name.to_owned(),
            experiment,
        })
    };
    let arms = [("four-experts", 0, None), ("three-of-four", 4, Some(3.0))];
    arms.into_iter().map(arm).collect()
}

/// A mixture with free choices, and two in which each codon prefers the experts of earlier ones. The pool is twice
/// the number of experts that a token chooses.
pub(crate) fn codons(steps: u64) -> Result<Vec<Arm>, ConfigError> {
    let arm = |(name, mode): (&str, Option<CodonMode>)| {
        let mut experiment = of_length(Experiment::preset("deepseek-tiny")?, steps);
        if let (Some(moe), Some(mode)) = (&mut experiment.model.moe, mode) {
            moe.router.codons = Some(CodonConfig::new(mode));
        }
        experiment.validate()?;
        Ok(Arm {
            name: name.to_owned(),
            experiment,
        })
    };
    let arms = [
        ("deepseek-tiny", None),
        ("soft-codons", Some(CodonMode::Soft { cohesion: 0.1 })),
        ("hard-codons", Some(CodonMode::Hard { pool: 8 })),
    ];
    arms.into_iter().map(arm).collect()
}

/// An experiment over `steps` steps. The warm-up keeps its number of steps, since the weights need it.
fn of_length(mut experiment: Experiment, steps: u64) -> Experiment {
    let training = &mut experiment.training;
    let (ScheduleConfig::Wsd { warmup, .. } | ScheduleConfig::Cosine { warmup, .. }) =
        &mut training.schedule;
    *warmup = (*warmup * training.steps as f64 / steps as f64).min(0.5);
    training.steps = steps;
    training.eval_every = 0;
    training.checkpoint_every = 100;
    training.keep_checkpoints = 1;
    experiment
}
