//! Configuration of training.

use serde::{Deserialize, Serialize};

use super::groups::GroupingConfig;
use super::mitosis::MitosisConfig;
use super::precision::Precision;
use super::schedule::ScheduleConfig;
use crate::model::lora::LoraConfig;

/// Configuration of a training run. A step is an optimizer step: `accumulation` micro-batches of `batch_size` rows
/// of `seq_len` tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Number of optimizer steps.
    pub steps: u64,
    /// Number of rows per micro-batch.
    pub batch_size: usize,
    /// Number of tokens per row.
    pub seq_len: usize,
    /// Number of micro-batches per optimizer step.
    pub accumulation: usize,
    /// Type of weights and activations within a step.
    pub precision: Precision,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Learning-rate schedule.
    pub schedule: ScheduleConfig,
    /// Decay rates of AdamW's first and second moment.
    pub betas: [f64; 2],
    /// Added to the square root of AdamW's second moment.
    pub eps: f64,
    /// Decoupled weight decay, for the parameters that `groups` selects.
    pub weight_decay: f64,
    /// Parameter groups: which parameters decay, and which have their own learning rate.
    pub groups: GroupingConfig,
    /// Maximum global norm of the gradients.
    pub clip: f64,
    /// Step `u` by which balancing changes an expert's bias per optimizer step, late in a run; 0: balancing is off.
    pub bias_update_speed: f64,
    /// Bias step at the first optimizer step. It falls with the square root of the step down to `bias_update_speed`.
    pub bias_update_start: f64,
    /// Share of the steps at the end of the run during which the bias is frozen.
    pub bias_freeze: f64,
    /// Mitosis: division of experts; absent: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitosis: Option<MitosisConfig>,
    /// LoRA: training of low-rank updates of frozen matrices; absent: all parameters are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Factor of the sequence-wise balance loss.
    pub seq_aux_alpha: f64,
    /// Factor of the multi-token prediction loss.
    pub mtp_loss_weight: f64,
    /// Factor of the multi-token prediction loss in the last third of the steps.
    pub mtp_loss_weight_final: f64,
    /// Seed of all random draws.
    pub seed: u64,
    /// Steps between evaluations on the validation text; 0: only at the end.
    pub eval_every: u64,
    /// Number of validation batches per evaluation during training; 0: all.
    pub eval_batches: usize,
    /// Steps between checkpoints; 0: only at the end.
    pub checkpoint_every: u64,
    /// Number of newest checkpoints to keep, in addition to the one with the lowest validation loss.
    pub keep_checkpoints: usize,
    /// Steps between progress lines on the screen.
    pub log_every: u64,
    /// Whether energy is measured and the journal stores the load of every expert. Does not change the trained
    /// model.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub telemetry: bool,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 8,
            seq_len: 256,
            accumulation: 1,
            precision: Precision::F32,
            learning_rate: 3e-4,
            schedule: ScheduleConfig::default(),
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.1,
            groups: GroupingConfig::default(),
            clip: 1.0,
            bias_update_speed: 1e-3,
            bias_update_start: 0.0,
            bias_freeze: 0.03,
            mitosis: None,
            lora: None,
            seq_aux_alpha: 1e-4,
            mtp_loss_weight: 0.3,
            mtp_loss_weight_final: 0.1,
            seed: 0,
            eval_every: 200,
            eval_batches: 0,
            checkpoint_every: 200,
            keep_checkpoints: 2,
            log_every: 10,
            telemetry: true,
        }
    }
}

impl TrainingConfig {
    /// Number of tokens per optimizer step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.accumulation * self.batch_size * self.seq_len) as u64
    }

    /// Smallest number of steps that read at least `tokens` tokens.
    pub fn steps_for(&self, tokens: f64) -> u64 {
        // a float of more than 2^53 steps is beyond any run
        (tokens / self.tokens_per_step() as f64).ceil().max(1.0) as u64
    }

    /// Factor of the multi-token prediction loss at `step`, counted from 1.
    pub fn mtp_weight_at(&self, step: u64) -> f64 {
        if step * 3 > self.steps * 2 {
            self.mtp_loss_weight_final
        } else {
            self.mtp_loss_weight
        }
    }

    /// Step by which balancing changes the bias at optimizer step `step`, counted from 1.
    ///
    /// The bias is the Lagrange multiplier of the constraint that loads are even. It is updated by a subgradient
    /// method, whose step length falls with the square root of the step. Early in training all tokens look alike,
    /// and the router's updates move an expert's affinities for all of them at once, by more than
    /// `bias_update_speed` per step.
    pub fn bias_speed_at(&self, step: u64) -> f64 {
        let resting = (self.steps as f64 * self.bias_freeze).floor() as u64;
        if step + resting > self.steps || self.bias_update_speed == 0.0 {
            return 0.0;
        }
        let falling = self.bias_update_start / (step as f64).sqrt();
        falling.max(self.bias_update_speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_rests_for_the_last_share_of_the_steps() {
        let config = TrainingConfig {
            steps: 100,
            ..Default::default()
        };
        assert_eq!(config.bias_speed_at(97), 1e-3);
        assert_eq!(config.bias_speed_at(98), 0.0);
    }

    #[test]
    fn tokens_are_read_in_whole_steps() {
        let config = TrainingConfig {
            batch_size: 2,
            seq_len: 50,
            accumulation: 3,
            ..Default::default()
        };
        for (tokens, steps) in [(0.0, 1), (300.0, 1), (301.0, 2), (3000.0, 10)] {
            assert_eq!(config.steps_for(tokens), steps);
        }
    }

    #[test]
    fn the_bias_is_fast_at_first_and_never_slower_than_its_speed() {
        let config = TrainingConfig {
            steps: 100_000,
            bias_update_start: 0.1,
            ..Default::default()
        };
        let speeds = [1, 4, 100, 10_000, 40_000].map(|step| config.bias_speed_at(step));
        assert_eq!(speeds, [0.1, 0.05, 0.01, 1e-3, 1e-3]);
        let never = TrainingConfig {
            bias_update_speed: 0.0,
            ..config
        };
        assert_eq!(never.bias_speed_at(1), 0.0);
    }

    #[test]
    fn the_mtp_loss_weighs_less_in_the_last_third() {
        let config = TrainingConfig {
            steps: 300,
            ..Default::default()
        };
        assert_eq!(config.mtp_weight_at(200), 0.3);
        assert_eq!(config.mtp_weight_at(201), 0.1);
    }
}
