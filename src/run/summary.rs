//! The description of a run in its report, apart from the journal's records.

use super::error::RunError;
use crate::checkpoint::Run;
use crate::config::Experiment;
use crate::model::routing::domain::DomainMode;
use crate::model::{FeedForwardPlan, ModelConfig};
use crate::telemetry::report::About;

/// The description that follows from the experiment and the run's folder; backend and meter are not known from these.
///
/// # Errors
///
/// The experiment cannot be written as JSON.
pub fn about(experiment: &Experiment, run: &Run) -> Result<About, RunError> {
    let model = &experiment.model;
    let name = run.path().file_name();
    Ok(About {
        run: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        preset: experiment.preset_name().map(str::to_owned),
        model: description(model),
        num_params: model.num_params(),
        num_active_params: model.num_active_params(),
        num_steps: experiment.training.steps,
        routed_layers: routed_layers(model),
        expert_domains: expert_domains(model),
        config: experiment.to_json_pretty()?,
        ..Default::default()
    })
}

/// The kind of model, in a few words.
fn description(model: &ModelConfig) -> String {
    let kind = match &model.moe {
        Some(moe) => {
            let most = moe.n_routed_experts + moe.n_shared_experts;
            let experts = match moe.router.initial_experts {
                None => most.to_string(),
                Some(initial) => format!("{} to {most}", initial + moe.n_shared_experts),
            };
            let visited = moe.num_experts_per_tok + moe.n_shared_experts;
            format!("a mixture of {experts} experts of which a token visits {visited}")
        }
        None => "a dense model".into(),
    };
    let (layers, width) = (model.num_hidden_layers, model.hidden_size);
    format!("{kind}, {layers} layers of width {width}")
}

/// Names of the routed layers, in the order in which loads are recorded: main model first, MTP modules last.
fn routed_layers(model: &ModelConfig) -> Vec<String> {
    let plan = model.plan();
    let routes = |plan: &FeedForwardPlan<'_>| matches!(plan, FeedForwardPlan::Moe(_));
    let layers = (1..).zip(&plan);
    let layers = layers.filter(|(_, layer)| routes(&layer.feed_forward));
    let mut names: Vec<_> = layers
        .map(|(number, _)| format!("layer {number}"))
        .collect();
    if routes(&model.mtp_plan().feed_forward) {
        let modules = 1..=model.num_nextn_predict_layers;
        names.extend(modules.map(|number| format!("MTP {number}")));
    }
    names
}

/// Domain of every routed expert; empty if domains have no effect.
fn expert_domains(model: &ModelConfig) -> Vec<crate::domain::Domain> {
    let experts = match &model.moe {
        // future experts will belong to the domains of their founders
        Some(moe) if moe.router.initial_experts.is_some() => 0,
        Some(moe) if model.domains.mode != DomainMode::Off => moe.n_routed_experts,
        _ => 0,
    };
    (0..experts)
        .map(|expert| model.domains.domain_of(expert))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Domain;

    fn model(preset: &str) -> ModelConfig {
        Experiment::preset(preset).expect("a preset").model
    }

    #[test]
    fn layers_and_experts_have_the_names_that_their_loads_are_recorded_by() {
        let mut tiny = model("tiny");
        assert_eq!(
            routed_layers(&tiny),
            ["layer 2", "layer 3", "layer 4", "MTP 1"]
        );
        let domains = expert_domains(&tiny);
        assert_eq!(domains.len(), 20);
        assert_eq!(
            (domains[9], domains[19]),
            (Domain::General, Domain::General)
        );
        assert_eq!(
            description(&tiny),
            "a mixture of 21 experts of which a token visits 3, 4 layers of width 128"
        );
        tiny.domains.mode = DomainMode::Off;
        assert_eq!(expert_domains(&tiny), []);
    }

    #[test]
    fn a_dense_model_routes_nowhere() {
        let dense = model("genesis-tiny");
        assert_eq!(routed_layers(&dense), [""; 0]);
        assert_eq!(expert_domains(&dense), []);
        assert!(description(&dense).starts_with("a dense model, "));
    }

    #[test]
    fn a_run_knows_the_preset_that_its_model_is_of() {
        let mut experiment = Experiment::preset("tiny").expect("a preset");
        experiment.model.vocab_size = 777;
        assert_eq!(experiment.preset_name(), Some("tiny"));
        experiment.model.hidden_size = 64;
        assert_eq!(experiment.preset_name(), None);
    }
}
