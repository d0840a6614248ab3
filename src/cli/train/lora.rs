//! Arguments of LoRA.

use crate::config::Experiment;
use crate::model::lora::LoraConfig;
use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "LoRA")]
pub(super) struct LoraArgs {
    /// Train low-rank updates `A B` of this rank, with all other parameters frozen [default: all parameters are
    /// trained]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    lora_rank: Option<u32>,
    /// Scale of the updates, divided by the rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "lora_rank")]
    lora_alpha: Option<f64>,
    /// Matrices with an update: attention, feed_forward, experts, all of these, or names of modules, as q_proj,v_proj
    /// [default: all]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        requires = "lora_rank"
    )]
    lora_targets: Vec<String>,
    /// Parameters to train whole beside the updates: routers, norms, or names of modules [default: none]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        requires = "lora_rank"
    )]
    lora_train: Vec<String>,
}

impl LoraArgs {
    /// Applies the given arguments to an experiment.
    pub(super) fn apply(&self, experiment: &mut Experiment) {
        let Some(rank) = self.lora_rank else { return };
        let mut lora = LoraConfig {
            train: self.lora_train.clone(),
            ..LoraConfig::of_rank(rank as usize)
        };
        lora.alpha = self.lora_alpha.unwrap_or(lora.alpha);
        if !self.lora_targets.is_empty() {
            lora.targets.clone_from(&self.lora_targets);
        }
        experiment.training.lora = Some(lora);
    }
}
